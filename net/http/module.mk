core-src += net/http/http.c
