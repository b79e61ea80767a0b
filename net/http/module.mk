core-src += net/http/http.c

unit += http
unit_http-src = tests/unit/http_test.c net/http/http.c $(base-host)

fuzz += http
fuzz_http-src = tests/fuzz/http_fuzz.c net/http/http.c $(base-host)
