/*
 * msix.c - an emulated MSI-X table and its pending bits
 *
 * Raising sets the pending bit; whatever is pending and not masked is then
 * sent, so one loop serves raising, unmasking a vector, unmasking the function
 * and a change of both at once. While MSI-X is disabled nothing becomes
 * pending: there is no pin to fall back to (see virt.c).
 *
 * Messages leave without the lock held. Any CPU may be in any function here.
 * [PCI 3.0 §6.8.2, §6.8.3]
 */
#include "base/bitmap.h"
#include "base/log.h"
#include "vmm/cpu/lapic.h"
#include "vmm/pci/pci_priv.h"

#define MSI_ADDR_BASE 0xfee00000ull
#define MSI_ADDR_BYTES 0x100000ull

/**
 * msix_init() - as after reset: disabled, every vector masked
 */
void msix_init(struct msix *m, u32 vectors)
{
	*m = (struct msix){ .vectors = MIN(vectors, (u32)PCI_VIRT_VECTORS_MAX) };
	for (u32 i = 0; i < m->vectors; i++)
		m->table[i][3] = PCI_MSIX_ENTRY_MASK;
}

/* Take one message that may go now. */
static bool next_message(struct msix *m, u64 *address, u32 *data)
{
	bool found = false;
	size_t i;

	spin_lock(&m->lock);
	if (m->enabled && !m->masked) {
		for (i = bitmap_next_set(m->pending, m->vectors, 0); i < m->vectors;
		     i = bitmap_next_set(m->pending, m->vectors, i + 1)) {
			if (m->table[i][3] & PCI_MSIX_ENTRY_MASK)
				continue;
			bitmap_clear(m->pending, i);
			*address = m->table[i][0] | (u64)m->table[i][1] << 32;
			*data = m->table[i][2];
			found = true;
			break;
		}
	}
	spin_unlock(&m->lock);
	return found;
}

/**
 * msi_message() - send what a guest has put into a message's registers
 */
void msi_message(u64 address, u32 data)
{
	/* Hardware would write to memory there; no driver means that. */
	if (ALIGN_DOWN(address, MSI_ADDR_BYTES) != MSI_ADDR_BASE)
		log_limited(LOG_WARN, "pci: message to nowhere address=%llx",
			    (unsigned long long)address);
	else
		lapic_msi(address, data);
}

static void send_pending(struct msix *m)
{
	u64 address;
	u32 data;

	while (next_message(m, &address, &data))
		msi_message(address, data);
}

/**
 * msix_control() - the two bits of Message Control that the guest may write
 */
void msix_control(struct msix *m, bool enabled, bool masked)
{
	spin_lock(&m->lock);
	m->enabled = enabled;
	m->masked = masked;
	if (!enabled)
		m->pending[0] = m->pending[1] = 0;
	spin_unlock(&m->lock);
	send_pending(m);
}

/**
 * msix_raise() - an event for vector @vec
 */
void msix_raise(struct msix *m, u32 vec)
{
	if (vec >= m->vectors)
		return;
	spin_lock(&m->lock);
	if (m->enabled)
		bitmap_set(m->pending, vec);
	spin_unlock(&m->lock);
	send_pending(m);
}

/**
 * msix_table_read() - a dword of the table, @off from its start
 */
u32 msix_table_read(struct msix *m, u32 off)
{
	u32 v = 0;

	if (off / PCI_MSIX_ENTRY_BYTES < m->vectors) {
		spin_lock(&m->lock);
		v = m->table[off / PCI_MSIX_ENTRY_BYTES][off / 4 % 4];
		spin_unlock(&m->lock);
	}
	return v;
}

/**
 * msix_table_write() - the guest writes a dword of the table
 *
 * Unmasking sends what was kept. A new message for a vector that is not
 * masked is used from the next event on.
 */
void msix_table_write(struct msix *m, u32 off, u32 v)
{
	static const u32 writable[4] = { ~3u, ~0u, ~0u, PCI_MSIX_ENTRY_MASK };

	if (off / PCI_MSIX_ENTRY_BYTES >= m->vectors)
		return;
	spin_lock(&m->lock);
	m->table[off / PCI_MSIX_ENTRY_BYTES][off / 4 % 4] = v & writable[off / 4 % 4];
	spin_unlock(&m->lock);
	send_pending(m);
}

/**
 * msix_pba_read() - a dword of the Pending Bit Array
 */
u32 msix_pba_read(struct msix *m, u32 off)
{
	u32 v = 0;

	if (off < sizeof(m->pending)) {
		spin_lock(&m->lock);
		v = (u32)(m->pending[off / 8] >> (off & 4 ? 32 : 0));
		spin_unlock(&m->lock);
	}
	return v;
}
