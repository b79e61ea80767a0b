base-core := base/err.c base/fmt.c base/log.c base/crc32c.c
base-host := $(base-core) base/plat_host.c
core-src += $(base-core)

unit += base
unit_base-src := tests/unit/base_test.c $(base-host)

# SHA-256 and P-256: Mbed TLS in the VMM, OpenSSL in hosted programs (-lcrypto).
# zlib's inflate stands here too, because storage/format needs it in the VMM only:
# hosted programs link -lz.
mbedtls-src := $(patsubst %,$(TP)/mbedtls/library/%.c, \
	sha256 ecdsa ecp ecp_curves bignum constant_time platform_util asn1parse asn1write \
	md hmac_drbg cipher cipher_wrap chacha20 poly1305 chachapoly oid pk pk_wrap pkparse ecdh \
	x509 x509_crt ssl_tls ssl_msg ssl_cli ssl_ciphersuites)
zlib-src := $(patsubst %,$(TP)/zlib/%.c, inflate inftrees inffast zutil adler32 crc32)
vmm-src += base/crypto_mbedtls.c base/crypto_arena.c
tp-vmm-src += $(mbedtls-src) $(zlib-src)
crypto-host := base/crypto_openssl.c

# The VMM's crypto as it is, compiled hosted for its own test and for TLS.
mbedtls-flags := -isystem $(TP)/mbedtls/include \
	-DMBEDTLS_CONFIG_FILE='"base/mbedtls_config.h"'
mbedtls-host := base/crypto_arena.c $(mbedtls-src)
mbedtls-objs := base/crypto_mbedtls.o net/client/tls.o $(patsubst $(TP)/%.c,tp/%.o,$(mbedtls-src))
$(foreach k,host asan fuzz,$(addprefix $(BUILD)/$(k)/,$(mbedtls-objs))): host-flags += $(mbedtls-flags)

unit += crypto_mbedtls crypto_openssl crypto_sign
unit_crypto_mbedtls-src := tests/unit/crypto_test.c base/crypto_mbedtls.c $(mbedtls-host) $(base-host)
unit_crypto_openssl-src := tests/unit/crypto_test.c $(crypto-host) $(base-host)
unit_crypto_openssl-libs := -lcrypto
unit_crypto_sign-src := tests/unit/crypto_sign_test.c $(crypto-host) $(base-host)
unit_crypto_sign-libs := -lcrypto
