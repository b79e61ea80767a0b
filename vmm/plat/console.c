/*
 * console.c - where log lines go: a ring in memory, and COM2 by polling
 *
 * The ring keeps the last 256 KiB for the report and the loader's HC_LOG. The
 * serial port belongs to the VMM: the guest reads all ones there, as from an
 * absent port. Lines are written under a lock that only the host's exit path
 * takes; NMI handlers do not log, and a panic breaks the lock.
 *
 * Spec: 16550 registers; 115200 8N1.
 */
#include "vmm/plat/console.h"

#include <string.h>

#include "base/log.h"
#include "base/plat.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/pio.h"

#define RING_BYTES (256u * 1024)

#define COM_BASE 0x2f8
#define COM_DATA 0
#define COM_IER 1
#define COM_FCR 2
#define COM_LCR 3
#define  COM_LCR_8N1 0x03
#define  COM_LCR_DLAB 0x80
#define COM_MCR 4
#define COM_LSR 5
#define  COM_LSR_THRE 0x20
#define COM_SCR 7
#define  SCR_ASK 0x46 /* not a value that drivers probe with */
#define COM_PORTS 8

/* Longer than one character takes at 115200; a port that never drains is given up. */
#define COM_WAIT_LOOPS 100000

static struct {
	struct spinlock lock;
	u64 written; /* [lock] bytes since boot */
	bool serial; /* a port answers */
	char ring[RING_BYTES];
} con;

static void serial_put(char ch)
{
	u32 i;

	for (i = 0; i < COM_WAIT_LOOPS; i++)
		if (inb(COM_BASE + COM_LSR) & COM_LSR_THRE)
			break;
	if (i == COM_WAIT_LOOPS) {
		con.serial = false;
		return;
	}
	outb(COM_BASE + COM_DATA, (u8)ch);
}

/** console_init() - find and program the serial port; the ring needs nothing */
void console_init(void)
{
	outb(COM_BASE + COM_SCR, 0xa5);
	if (inb(COM_BASE + COM_SCR) != 0xa5)
		return;
	outb(COM_BASE + COM_IER, 0);
	outb(COM_BASE + COM_LCR, COM_LCR_DLAB);
	outb(COM_BASE + COM_DATA, 1);
	outb(COM_BASE + COM_IER, 0);
	outb(COM_BASE + COM_LCR, COM_LCR_8N1);
	outb(COM_BASE + COM_FCR, 0x07);
	outb(COM_BASE + COM_MCR, 0x03);
	con.serial = true;
}

/** plat_log_write() - see base/plat.h; cut to nothing, never blocks for long */
void plat_log_write(const char *line, size_t bytes)
{
	size_t i;

	spin_lock(&con.lock);
	for (i = 0; i < bytes; i++) {
		con.ring[con.written++ % RING_BYTES] = line[i];
		if (con.serial && line[i] == '\n')
			serial_put('\r');
		if (con.serial)
			serial_put(line[i]);
	}
	spin_unlock(&con.lock);
}

/** console_break_lock() - the CPU that holds it has been stopped */
void console_break_lock(void)
{
	spin_unlock(&con.lock);
}

/**
 * console_read() - copy out of the ring
 * @pos:  in: a position since boot; out: the next one
 * @room: bytes at @out
 *
 * A position that has been overwritten moves to the oldest byte.
 * Return: bytes copied.
 */
u32 console_read(u64 *pos, char *out, u32 room)
{
	u32 n = 0;

	spin_lock(&con.lock);
	if (*pos > con.written)
		*pos = con.written;
	if (con.written - *pos > RING_BYTES)
		*pos = con.written - RING_BYTES;
	while (n < room && *pos < con.written)
		out[n++] = con.ring[(*pos)++ % RING_BYTES];
	spin_unlock(&con.lock);
	return n;
}

void (*console_asked)(void);

/*
 * Root in the guest may ask for the figures by a write to the scratch register
 * of the port that seems absent; once a second at most, as it costs log lines.
 */
static void scratch_written(void)
{
	static struct log_limit limit;

	if (console_asked && log_limit_ok(&limit, 1))
		console_asked();
}

static bool hidden_access(void *ctx, struct pio_access *a)
{
	(void)ctx;
	if (a->write && a->port == COM_BASE + COM_SCR && (u8)a->value == SCR_ASK)
		scratch_written();
	/* Firmware that has a driver on this port polls it: nothing received, always ready. */
	if (!a->write)
		a->value = a->port == COM_BASE + COM_LSR ? 0x60 : 0xffffffff;
	return true;
}

static struct pio_region hidden = {
	.first = COM_BASE,
	.count = COM_PORTS,
	.access = hidden_access,
	.name = "com2",
};

/** console_hide() - the guest finds no serial port there */
int console_hide(void)
{
	return con.serial ? pio_region_add(&hidden) : 0;
}
