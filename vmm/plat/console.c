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

/* A FIFO's worth may follow each sight of an empty transmitter. */
#define COM_FIFO 16
/* How often to look for one before the rest is left for later. */
#define COM_WAIT_LOOPS 200
#define COM_WAIT_LOOPS_PANIC 1000000

static struct {
	struct spinlock lock;
	u64 written; /* [lock] bytes since boot */
	u64 sent; /* [lock] of those, given to the port */
	bool serial; /* (c) a port answers */
	bool patient; /* a panic: nobody else will send the rest */
	char ring[RING_BYTES];
} con;

static bool transmitter_empty(void)
{
	u32 loops = con.patient ? COM_WAIT_LOOPS_PANIC : COM_WAIT_LOOPS;

	while (loops--)
		if (inb(COM_BASE + COM_LSR) & COM_LSR_THRE)
			return true;
	return false;
}

/*
 * Send what the port takes now. A line is never waited for: on a real port it
 * lasts milliseconds, and those are the guest's.
 */
static void serial_drain_locked(void)
{
	u32 n;

	if (!con.serial)
		return;
	if (con.written - con.sent > RING_BYTES)
		con.sent = con.written - RING_BYTES;
	while (con.sent < con.written && transmitter_empty())
		for (n = 0; n < COM_FIFO && con.sent < con.written; n++)
			outb(COM_BASE + COM_DATA, (u8)con.ring[con.sent++ % RING_BYTES]);
}

/** console_drain() - send more of the log; true: there is still some left */
bool console_drain(void)
{
	bool left;

	/* Read without the lock: one that is missed now is seen the next time. */
	if (!con.serial || __atomic_load_n(&con.sent, __ATOMIC_RELAXED) ==
				   __atomic_load_n(&con.written, __ATOMIC_RELAXED))
		return false;
	if (!spin_trylock(&con.lock))
		return true;
	serial_drain_locked();
	left = con.sent < con.written;
	spin_unlock(&con.lock);
	return left;
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
		if (line[i] == '\n')
			con.ring[con.written++ % RING_BYTES] = '\r';
		con.ring[con.written++ % RING_BYTES] = line[i];
	}
	serial_drain_locked();
	spin_unlock(&con.lock);
}

/** console_break_lock() - the CPU that holds it has been stopped */
void console_break_lock(void)
{
	con.patient = true;
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
