core-src += vmm/cpu/decode.c

unit += decode
unit_decode-src := tests/unit/decode_test.c vmm/cpu/decode.c
unit_decode-libs := -lcapstone

fuzz += decode
fuzz_decode-src := tests/fuzz/decode_fuzz.c vmm/cpu/decode.c
