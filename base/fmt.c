#include "base/fmt.h"

#include "base/err.h"

struct sink {
	char *out;
	size_t room;
	size_t len;
};

struct spec {
	bool left, zero, alt;
	int width;
	int prec; /* -1: none given */
	int longs; /* 2: 64 bits; -1, -2: short, char */
};

static void put(struct sink *s, char c)
{
	if (s->len + 1 < s->room)
		s->out[s->len] = c;
	s->len++;
}

static void put_padded(struct sink *s, const char *text, int n, const struct spec *f)
{
	int pad = f->width - n;

	for (; !f->left && pad > 0; pad--)
		put(s, ' ');
	for (int i = 0; i < n; i++)
		put(s, text[i]);
	for (; f->left && pad > 0; pad--)
		put(s, ' ');
}

static void put_number(struct sink *s, u64 v, bool neg, unsigned base, bool upper,
		       const struct spec *f)
{
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char buf[96];
	int i = sizeof(buf), end = sizeof(buf), min = f->prec >= 0 ? f->prec : 1;
	int prefix = neg ? 1 : (f->alt && base == 16 ? 2 : 0);
	u64 left = v;

	if (f->zero && !f->left && f->prec < 0 && f->width - prefix > min)
		min = f->width - prefix;
	if (min > 80)
		min = 80;
	while (left || end - i < min) {
		buf[--i] = digits[left % base];
		left /= base;
	}
	if (neg)
		buf[--i] = '-';
	else if (prefix) {
		buf[--i] = upper ? 'X' : 'x';
		buf[--i] = '0';
	}
	put_padded(s, buf + i, end - i, f);
}

static u64 arg_unsigned(va_list *ap, int longs)
{
	u64 v = longs > 0 ? va_arg(*ap, unsigned long) : va_arg(*ap, unsigned int);

	return longs == -1 ? (u16)v : longs == -2 ? (u8)v : v;
}

static s64 arg_signed(va_list *ap, int longs)
{
	s64 v = longs > 0 ? va_arg(*ap, long) : va_arg(*ap, int);

	return longs == -1 ? (s16)v : longs == -2 ? (s8)v : v;
}

static int number_or_star(const char **p, va_list *ap)
{
	int n = 0;

	if (**p == '*') {
		(*p)++;
		return va_arg(*ap, int);
	}
	while (**p >= '0' && **p <= '9')
		n = n * 10 + *(*p)++ - '0';
	return n;
}

static const char *parse_spec(const char *p, struct spec *f, va_list *ap)
{
	for (;; p++) {
		if (*p == '-')
			f->left = true;
		else if (*p == '0')
			f->zero = true;
		else if (*p == '#')
			f->alt = true;
		else if (*p != '+' && *p != ' ')
			break;
	}
	f->width = number_or_star(&p, ap);
	if (f->width < 0) {
		f->left = true;
		f->width = -f->width;
	}
	f->prec = -1;
	if (*p == '.') {
		p++;
		f->prec = number_or_star(&p, ap);
	}
	for (;; p++) {
		if (*p == 'l')
			f->longs++;
		else if (*p == 'z')
			f->longs = 2;
		else if (*p == 'h')
			f->longs--;
		else
			return p;
	}
}

/** fmt_vsnprintf() - see the top of fmt.h */
int fmt_vsnprintf(char *out, size_t room, const char *fmt, va_list args)
{
	struct sink s = { out, room, 0 };
	va_list ap;

	va_copy(ap, args);
	for (const char *p = fmt; *p; p++) {
		struct spec f = { 0 };

		if (*p != '%') {
			put(&s, *p);
			continue;
		}
		p = parse_spec(p + 1, &f, &ap);
		switch (*p) {
		case 'd':
		case 'i': {
			s64 v = arg_signed(&ap, f.longs);

			put_number(&s, v < 0 ? -(u64)v : (u64)v, v < 0, 10, false, &f);
			break;
		}
		case 'u':
			put_number(&s, arg_unsigned(&ap, f.longs), false, 10, false, &f);
			break;
		case 'x':
		case 'X':
			put_number(&s, arg_unsigned(&ap, f.longs), false, 16, *p == 'X', &f);
			break;
		case 'p':
			f.alt = true;
			put_number(&s, (uintptr_t)va_arg(ap, void *), false, 16, false, &f);
			break;
		case 'c': {
			char c = (char)va_arg(ap, int);

			put_padded(&s, &c, 1, &f);
			break;
		}
		case 's': {
			const char *t = va_arg(ap, const char *);
			int n = 0;

			if (!t)
				t = "(null)";
			while ((f.prec < 0 || n < f.prec) && t[n])
				n++;
			put_padded(&s, t, n, &f);
			break;
		}
		case '%':
			put(&s, '%');
			break;
		default:
			p--; /* unknown: leave it out, go on */
			break;
		}
	}
	va_end(ap);
	if (room)
		out[s.len < room ? s.len : room - 1] = 0;
	return (int)s.len;
}

int fmt_snprintf(char *out, size_t room, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = fmt_vsnprintf(out, room, fmt, ap);
	va_end(ap);
	return n;
}

char *fmt_hex(char *out, const void *data, size_t bytes)
{
	const u8 *b = data;

	for (size_t i = 0; i < bytes; i++) {
		out[2 * i] = "0123456789abcdef"[b[i] >> 4];
		out[2 * i + 1] = "0123456789abcdef"[b[i] & 15];
	}
	out[2 * bytes] = 0;
	return out;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int fmt_unhex(void *out, size_t bytes, const char *hex, size_t hex_len)
{
	u8 *b = out;

	if (hex_len != 2 * bytes)
		return -EINVAL;
	for (size_t i = 0; i < bytes; i++) {
		int hi = hex_digit(hex[2 * i]), lo = hex_digit(hex[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return -EINVAL;
		b[i] = (u8)(hi << 4 | lo);
	}
	return 0;
}
