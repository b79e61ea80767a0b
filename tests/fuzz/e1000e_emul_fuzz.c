/*
 * The emulated 82574L against a hostile guest: the input is a program of register
 * accesses, descriptors, bytes of guest memory, frames from the wire and turns of
 * the pump. Guest memory lies where the host's does not; the real card below
 * checks that every frame is one that a wire may have.
 *
 * A step is an operation byte and its operands; what runs out reads as zero.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/endian.h"
#include "base/plat_host.h"
#include "net/emul/e1000e.h"
#include "net/spec/e1000e.h"
#include "tests/fakes/nic_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define RAM_BYTES (64 * 1024u)
#define RAM_GPA 0x40000000ull
#define TX_RING 0u
#define RX_RING 0x1000u
#define RING 32u
#define STEPS 300u

struct in {
	const u8 *p;
	size_t n;
	u32 tail;
};

static u64 word(struct in *in, u32 bytes)
{
	u64 v = 0;

	for (; bytes && in->n; bytes--, in->n--)
		v = v << 8 | *in->p++;
	return v;
}

static u8 byte(struct in *in)
{
	return (u8)word(in, 1);
}

static u64 address(struct in *in)
{
	u8 kind = byte(in);

	if (kind < 220)
		return RAM_GPA + word(in, 2) % RAM_BYTES;
	return kind < 240 ? RAM_GPA + RAM_BYTES - byte(in) : word(in, 8);
}

static void begin(struct nic_rig *r, u8 *ram, struct in *in, u32 rctl, u32 rfctl)
{
	rig_write(r, E1000_TDBAL, (u32)RAM_GPA + TX_RING);
	rig_write(r, E1000_TDBAH, 0);
	rig_write(r, E1000_TDLEN, RING * 16);
	rig_write(r, E1000_TDH, 0);
	rig_write(r, E1000_TDT, 0);
	rig_write(r, E1000_TCTL, E1000_TCTL_EN);
	for (u32 i = 0; i < RING * 4; i++)
		put_le64(ram + RX_RING + 8 * i, RAM_GPA + 0x8000 + 0x100 * i);
	rig_write(r, E1000_RDBAL, (u32)RAM_GPA + RX_RING);
	rig_write(r, E1000_RDBAH, 0);
	rig_write(r, E1000_RDLEN, RING * 16);
	rig_write(r, E1000_RDH, 0);
	rig_write(r, E1000_RDT, RING - 1);
	rig_write(r, E1000_RFCTL, rfctl);
	rig_write(r, E1000_RCTL, rctl | E1000_RCTL_EN | E1000_RCTL_BAM);
	in->tail = 0;
}

static void desc(u8 *ram, struct in *in)
{
	u8 *d = ram + TX_RING + 16 * in->tail, kind = byte(in);

	if (kind < 100) { /* legacy */
		put_le64(d, address(in));
		put_le64(d + 8, word(in, 2) % 1600 | (u64)byte(in) << 16 |
				(u64)(byte(in) & ~0x20u) << 24 | word(in, 4) << 32);
	} else if (kind < 200) { /* data */
		put_le64(d, address(in));
		put_le64(d + 8, word(in, kind & 1 ? 3 : 2) % 0x100000 | 1 << 20 |
				(u64)(byte(in) | 0x20) << 24 | word(in, 4) << 32);
	} else { /* context */
		put_le64(d, 14 | 24 << 8 | 33u << 16 | 34ull << 32 | 50ull << 40);
		if (kind > 225)
			put_le64(d, word(in, 8));
		put_le64(d + 8, word(in, 2) | (u64)(byte(in) | 0x20) << 24 |
				(u64)(kind > 240 ? byte(in) : 54) << 40 | word(in, 2) << 48);
	}
	in->tail = (in->tail + 1) % RING;
}

static void from_wire(struct nic_rig *r, struct in *in)
{
	u8 f[NETIF_FRAME_MAX];
	u32 bytes = NETIF_HEAD_BYTES + (u32)word(in, 2) % (NETIF_FRAME_MAX - NETIF_HEAD_BYTES + 1);

	memset(f, byte(in), sizeof(f));
	memcpy(f, r->card.mac, 6);
	if (byte(in) & 1)
		put_le16(f + 12, 0x0081);
	if (byte(in) & 1)
		memset(f, 0xff, 6);
	rig_rx(r, f, bytes, byte(in) & 1);
}

static void step(struct nic_rig *r, u8 *ram, struct in *in)
{
	static const u16 hot[] = {
		E1000_CTRL, E1000_ICR, E1000_ICS, E1000_IMS, E1000_IMC, E1000_EIAC, E1000_IVAR,
		E1000_CTRL_EXT, E1000_RCTL, E1000_RDLEN, E1000_RDH, E1000_RDT, E1000_TDLEN,
		E1000_TDH, E1000_TDT, E1000_TCTL, E1000_RFCTL, E1000_PSRCTL, E1000_MDIC,
		E1000_EERD, E1000_RXCSUM, E1000_IAM, E1000_TDBAL, E1000_RDBAL,
	};
	u64 v;

	switch (byte(in) % 14) {
	case 0:
		begin(r, ram, in, (u32)word(in, 4), byte(in) & 1 ? E1000_RFCTL_EXSTEN : 0);
		break;
	case 1:
	case 2:
	case 3:
		desc(ram, in);
		break;
	case 4:
	case 5:
		rig_write(r, E1000_TDT, in->tail);
		rig_run(r);
		break;
	case 6:
	case 7:
		from_wire(r, in);
		break;
	case 8:
		rig_write(r, hot[byte(in) % ARRAY_SIZE(hot)], (u32)word(in, 4));
		break;
	case 9:
		v = word(in, 8);
		r->nic->ops->mmio(r->nic, word(in, 3), 1u << (byte(in) & 3), byte(in) & 1, &v);
		break;
	case 10:
		ram[word(in, 2) % RAM_BYTES] = byte(in);
		break;
	case 11:
		r->hold = byte(in) & 1;
		r->room = 1 + byte(in) % 100;
		break;
	case 12:
		r->msix = byte(in) & 1;
		r->link = byte(in) & 1;
		plat_host_now_ns += NS_PER_SEC;
		break;
	default:
		rig_run(r);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct nic_rig rig;
	static u8 *ram;
	struct e1000e_emul_cfg cfg = { &rig.host, NULL, rig_msix, &rig };
	struct in in = { .p = data, .n = n };

	plat_host_quiet = true;
	plat_host_now_ns = NS_PER_SEC;
	if (!ram)
		ram = aligned_alloc(4096, RAM_BYTES);
	memset(ram, 0, RAM_BYTES);
	rig_init(&rig);
	cfg.share = rig.share;
	assert(e1000e_emul_create(&cfg, &rig.nic) == 0);
	rig_window(&rig, RAM_GPA, ram, RAM_BYTES);
	begin(&rig, ram, &in, 0, 0);
	for (u32 i = 0; i < STEPS && in.n; i++)
		step(&rig, ram, &in);

	/* Whatever happened: after a reset a frame goes out and one comes in. */
	rig.hold = false;
	rig.room = ARRAY_SIZE(rig.queue);
	rig.link = true;
	rig_run(&rig);
	rig_write(&rig, E1000_CTRL, E1000_CTRL_RST);
	rig_run(&rig);
	assert(share_tx_busy(rig.share) == 0);
	rig.sents = 0;
	memset(ram, 0, RAM_BYTES);
	begin(&rig, ram, &in, E1000_RCTL_SECRC, 0);
	put_le64(ram + TX_RING, RAM_GPA + 0x4000);
	put_le64(ram + TX_RING + 8, 100 | (u64)(E1000_TXD_EOP | E1000_TXD_RS) << 24);
	memcpy(ram + 0x4006, rig.card.mac, 6);
	rig_write(&rig, E1000_TDT, 1);
	rig_run(&rig);
	assert(rig.sents == 1 && rig.sent[0].bytes == 100);
	assert(ram[TX_RING + 12] & E1000_TXD_DD);
	rig_rx(&rig, (u8[100]){ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, 100, false);
	assert(rig_read(&rig, E1000_RDH) == 1);
	e1000e_emul_destroy(rig.nic);
	rig_fini(&rig);
	return 0;
}
