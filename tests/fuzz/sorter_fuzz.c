/*
 * Any bytes from the wire and from the guest: the sorter reads no byte beyond
 * them, gives every frame to somebody, and never lets the VMM's address out in a
 * plain IPv4 packet of the guest's while that has another one.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/plat.h"
#include "base/plat_host.h"
#include "net/stack/sorter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define OUR_IP 0x0a000063u

static u32 ip(void)
{
	return OUR_IP;
}

static u32 xid(void)
{
	return 0x12345678;
}

static bool owns(u32 rip, u16 rport, u16 lport)
{
	return rip == 0x0a000001 && rport == 80 && (lport & 1);
}

static const struct sorter_vmm vmm = { ip, xid, owns };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct sorter s = { .vmm = &vmm, .mac = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 } };
	u8 *f;
	bool spoofed;

	plat_host_quiet = true;
	if (n < 15 || n > 1519)
		return 0;
	n--;
	f = malloc(n); /* exactly, so that one byte more is found */
	memcpy(f, data + 1, n);
	s.guest_ip = data[0] & 1 ? OUR_IP : 0;
	spoofed = sorter_tx_spoofed(&s, f, (u32)n);
	if (!s.guest_ip && n >= 34 && f[12] == 8 && !f[13] && f[14] == 0x45 &&
	    !memcmp(f + 26, "\x0a\0\0\x63", 4) && !spoofed)
		plat_panic("the VMM's address gets out");
	if (data[0] & 2)
		memcpy(f, s.mac, 6);
	if (!sorter_rx(&s, f, (u32)n))
		plat_panic("nobody's frame");
	free(f);
	return 0;
}
