/*
 * machine.c - the devices that Freshet drives and presents on this PC
 *
 *	HC_START  real disk controllers and NIC are taken, drivers and stack start, deploy begins
 *	HC_ATTACH the virtual disk stands behind a virtual controller at the same place
 *
 * Any of the disks may be the one (backends.c); the others are the guest's again
 * from HC_ATTACH on. Where the virtual controller does not fit in the real one's
 * place (NVMe before AHCI) that stays hidden, and the virtual one stands where
 * there is nothing.
 *
 * A PC without a disk ("diskless") has memory behind the store instead, which
 * the loader reserved, and the virtual controller at a PCI address where there
 * is nothing. A network card without messages (nic.c) is polled: from the tick
 * while an answer is awaited, and whenever else we are here.
 *
 * Everything here but the doorbell stores and machine_explains_nmi() runs with
 * the pump's ownership. The wake-ups: doorbells (NMI) from the devices, the
 * guest's doorbell writes, and, while some timer of ours runs, the tick.
 */
#include "vmm/main/machine.h"

#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/plat.h"
#include "net/client/client.h"
#include "net/stack/stack.h"
#include "storage/core/deploy.h"
#include "storage/core/disk.h"
#include "storage/drivers/memdisk.h"
#include "vmm/cpu/counters.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/mmio.h"
#include "vmm/cpu/vcpu.h"
#include "vmm/main/backends.h"
#include "vmm/main/core.h"
#include "vmm/main/frontend.h"
#include "vmm/main/nic.h"
#include "vmm/main/pump.h"
#include "vmm/pci/pci.h"
#include "vmm/plat/console.h"
#include "vmm/plat/crash.h"
#include "vmm/plat/memory.h"

/* A timer nearer than this keeps the tick on; farther ones wait for any exit. */
#define TICK_HORIZON_NS (2 * NS_PER_SEC)
/*
 * Fill starts some time after the last miss, and a guest that has gone quiet
 * has no exit then: the tick stays on for that wait, until the store is complete.
 */
#define TICK_FILL_HORIZON_NS (20 * NS_PER_SEC)

/*
 * A doorbell may still be on its way when polling has already served what it
 * rang for. For so long after work was found, a stray NMI is taken for ours.
 */
#define STRAY_NMI_NS (5 * NS_PER_MS)

/*
 * One visit to the pump on a CPU whose guest is busy. The loader only waits
 * for us, so it may take longer.
 */
#define STAY_NS (1 * NS_PER_MS)
#define STAY_BOOT_NS (20 * NS_PER_MS)

/*
 * Of a busy guest CPU, background work gets one part in so many. What it did not
 * use is good for one visit: a frame now and then costs no tick.
 */
#define BACKGROUND_SHARE 4
#define BACKGROUND_CREDIT_NS STAY_NS
#define BACKGROUND_DEBT_NS (5 * NS_PER_MS)

/*
 * Work of the store that its back-end finishes at once, in memory, may make
 * more of it: so often before other things have their turn.
 */
#define MEMORY_TURNS 16


enum tick_reason {
	TICK_OFF, TICK_MORE, TICK_NET_OWED, TICK_LOG, TICK_NETWORK, TICK_DISK, TICK_STORE,
	TICK_FILL, TICK_REASONS,
};

static struct machine {
	struct blk_dev *blk; /* memory that the store lies on; else the first disk */
	bool memory; /* (c) it is memory */
	struct source *source;
	struct deploy *deploy;
	u16 disk_bdf;
	u8 uuid[16]; /* (c) */
	int start_err; /* why a device could not be started */
	u32 start_code; /* enum handoff_code */
	bool started;
	enum tick_reason tick; /* TICK_OFF, or why it was switched on or stays */
	u64 tick_turns[TICK_REASONS]; /* how often each has switched it on */
	bool idle; /* (a) the tick CPU's guest halts */
	bool net_owed; /* network work was put off */
	bool saying; /* (a) figures are being logged; their asker drains the log */
	s64 net_credit_ns; /* of background work: it may go on while there is some */
	u64 net_at_ns; /* the credit's time */
	u64 deploy_due_ns; /* when deploy_poll() wants to run again */
	u64 longest_ns; /* of one phase of machine_poll() */
	const char *longest_phase;
	u64 work_ns; /* (a) when a doorbell was last explained */
} m;

/* ------------------------------------------------- start */

/* Reserved in the guest's memory map; from here on it is not there either. */
static struct mmio_region memory_region = { .mode = MMIO_ABSENT, .name = "memory-disk" };

static int start_memory(const struct handoff *h)
{
	int err;

	m.start_code = FR_INTERNAL;
	memory_region.base = GPA(h->memory_pa);
	memory_region.bytes = h->memory_bytes;
	memory_hide(h->memory_pa, h->memory_bytes);
	err = mmio_region_add(&memory_region);
	if (!err)
		err = memdisk_create(&m.blk, HPA(h->memory_pa), h->memory_bytes);
	if (err)
		log_err("machine: memory for the store failed err=%s", err_name(err));
	return err;
}

static int start_disk(const struct handoff *h)
{
	int err;

	m.memory = h->memory_bytes;
	if (m.memory)
		return start_memory(h);
	err = backends_start(h);
	m.start_code = err == -ENODEV ? FR_NO_DISK : FR_DISK_FAILED;
	if (err)
		log_err("machine: no disk err=%s", err_name(err));
	else
		backends_disks(&m.blk, 1);
	return err;
}

/*
 * Who this PC is. Where the firmware does not say, its network card does, in
 * the form of a UUID of version 8: 00000000-0000-8000-8000-<MAC>. [RFC 9562 §5.8]
 */
static void make_uuid(const struct handoff *h, u8 uuid[16])
{
	static const u8 none[16];

	memcpy(uuid, h->uuid, 16);
	if (memcmp(uuid, none, 16) || !nic_mac())
		return;
	uuid[7] = 0x80; /* the third field is little-endian */
	uuid[8] = 0x80;
	memcpy(uuid + 10, nic_mac(), 6);
}

/** machine_start() - see machine.h. Context: boot CPU, hypercall. */
int machine_start(const struct handoff *h)
{
	struct blk_dev *disks[DEPLOY_DISKS_MAX];
	struct deploy_cfg cfg = { 0 };
	int err;

	if (m.started)
		return -EALREADY;
	m.started = true;
	pump_lock();
	err = pci_init(h);
	if (!err)
		err = start_disk(h);
	if (!err) {
		nic_start(h, &m.source);
		make_uuid(h, m.uuid);
		cfg.blk = m.blk;
		cfg.memory = m.memory;
		if (!m.memory) {
			cfg.nmore = backends_disks(disks, ARRAY_SIZE(disks)) - 1;
			cfg.more = disks + 1;
		}
		cfg.source = m.source;
		cfg.build = h->version_text;
		cfg.report_more = crash_report;
		cfg.keys = (const u8(*)[P256_PUB_BYTES])h->keys;
		cfg.nkeys = MIN(h->key_count, (u32)HANDOFF_KEYS_MAX);
		memcpy(cfg.uuid, m.uuid, sizeof(cfg.uuid));
		if (nic_mac())
			memcpy(cfg.mac, nic_mac(), sizeof(cfg.mac));
		err = deploy_create(&m.deploy, &cfg);
		m.start_code = FR_INTERNAL;
	}
	m.start_err = err;
	pump_unlock();
	return 0; /* what went wrong is in the status, with words */
}

/* What the guest is to see: as the ticket says, else as the real one is. */
static enum frontend_kind frontend_wanted(bool ahci)
{
	switch (deploy_frontend(m.deploy)) {
	case STORE_FRONTEND_AHCI:
		return FRONTEND_AHCI;
	case STORE_FRONTEND_NVME:
		return FRONTEND_NVME;
	case STORE_FRONTEND_SAME:
		break;
	}
	return ahci ? FRONTEND_AHCI : FRONTEND_NVME;
}

/** machine_attach() - see machine.h */
int machine_attach(void)
{
	const struct pci_virt_desc *desc;
	enum frontend_kind kind;
	struct blk_dev *blk;
	bool ahci = false;
	int err = 0;

	pump_lock();
	blk = m.deploy && !frontend_up() ? deploy_disk(m.deploy) : NULL;
	if (!blk) {
		pump_unlock();
		return frontend_up() ? -EALREADY : -EAGAIN;
	}
	if (!m.memory)
		backends_keep(deploy_real_disk(m.deploy), &m.disk_bdf, &ahci);
	kind = frontend_wanted(ahci);
	desc = frontend_desc(kind);
	/* In the real one's place where it has room, else where there is nothing. */
	if (m.memory || !pci_fits(m.disk_bdf, desc))
		err = pci_add(core_handoff->bar_pa, desc->bar_bytes, &m.disk_bdf);
	if (!err)
		err = frontend_present(kind, blk, m.disk_bdf);
	if (err) {
		log_err("machine: cannot present the virtual disk err=%s", err_name(err));
	} else {
		deploy_attached(m.deploy);
		nic_attach(deploy_nic(m.deploy));
		log_info("machine: virtual disk attached bdf=%x by=%s bytes=%llu", m.disk_bdf,
			 desc->name, (unsigned long long)(blk->sectors * blk->sector_bytes));
	}
	pump_unlock();
	return err;
}

/** machine_disk() - see machine.h */
struct blk_dev *machine_disk(void)
{
	return frontend_up() ? deploy_disk(m.deploy) : NULL;
}

/* ------------------------------------------------- the pump's round */

void machine_idle(bool idle)
{
	__atomic_store_n(&m.idle, idle, __ATOMIC_RELAXED);
}

u64 machine_stay_ns(void)
{
	return frontend_up() ? STAY_NS : STAY_BOOT_NS;
}

/*
 * May the network have this visit? What the guest waits for always, and
 * everything while its CPU would idle. The rest, fill and reports, gets a
 * share of a busy CPU and otherwise waits: the card keeps quiet until it is
 * served, so it cannot ring the guest out of its time.
 */
static bool network_allowed(u64 now)
{
	u64 earned = MIN((now - m.net_at_ns) / BACKGROUND_SHARE,
			 BACKGROUND_CREDIT_NS + BACKGROUND_DEBT_NS);

	m.net_credit_ns = MIN(m.net_credit_ns + (s64)earned, (s64)BACKGROUND_CREDIT_NS);
	m.net_at_ns = now;
	return !frontend_up() || __atomic_load_n(&m.idle, __ATOMIC_RELAXED) ||
	       m.net_credit_ns > 0 || client_pending(m.source) == SOURCE_DEMAND;
}

/* With the guest's card there, the real one is polled for the guest. Is there more to do? */
static bool network_wanted(u64 now)
{
	return !nic_active() || stack_waits() || client_pending(m.source) >= 0 ||
	       client_busy(m.source) || client_deadline_ns(m.source) <= now;
}

static bool network_poll(u64 now)
{
	if (!network_wanted(now)) {
		m.net_owed = false;
		return false;
	}
	m.net_owed = !network_allowed(now);
	if (m.net_owed)
		return false;
	m.source->ops->poll(m.source);
	m.net_credit_ns -= (s64)(plat_time_ns() - now);
	m.net_credit_ns = MAX(m.net_credit_ns, -(s64)BACKGROUND_DEBT_NS);
	return client_busy(m.source);
}

/* Frames of the VMM's that the guest's card makes us take are background work, too. */
static bool guest_network_poll(u64 from)
{
	bool vmm_only, more = nic_poll(&vmm_only);

	if (vmm_only)
		m.net_credit_ns = MAX(m.net_credit_ns - (s64)(plat_time_ns() - from),
				      -(s64)BACKGROUND_DEBT_NS);
	return more;
}

static bool fill_waits(void)
{
	struct disk *disk = m.deploy ? deploy_vdisk(m.deploy) : NULL;

	return disk && disk_filling(disk);
}

/* Why the tick is on: a timer that only a tick can keep, or work that was put off. */
static enum tick_reason tick_reason(bool more)
{
	u64 now = plat_time_ns(), horizon = now + TICK_HORIZON_NS, disk;

	if (more)
		return TICK_MORE;
	if (m.net_owed)
		return TICK_NET_OWED;
	if (!m.saying && console_drain())
		return TICK_LOG;
	if (m.source && (client_pending(m.source) >= 0 || !frontend_up()) &&
	    (nic_polled() || client_deadline_ns(m.source) < horizon))
		return TICK_NETWORK;
	if (nic_guest_waits())
		return TICK_NETWORK;
	disk = backends_deadline_ns();
	if (disk && disk < horizon)
		return TICK_DISK;
	if (m.deploy_due_ns < horizon)
		return TICK_STORE;
	if (m.deploy_due_ns < now + TICK_FILL_HORIZON_NS && fill_waits())
		return TICK_FILL;
	return TICK_OFF;
}

/** machine_visit_end() - see machine.h */
void machine_visit_end(bool more)
{
	enum tick_reason why;

	if (!m.started || m.start_err)
		return;
	why = tick_reason(more);
	if (!m.tick && why)
		m.tick_turns[why]++;
	if (!m.tick != !why)
		vcpu_tick_set(why != TICK_OFF);
	m.tick = why;
}

/* A phase of the pump's round is over: is it the longest so far? */
static u64 phase_done(u64 from, const char *phase)
{
	u64 now = plat_time_ns();

	if (now - from > m.longest_ns) {
		m.longest_ns = now - from;
		m.longest_phase = phase;
	}
	return now;
}

static void store_poll(void)
{
	u64 wait = deploy_poll(m.deploy);

	m.deploy_due_ns = wait > ~0ull / 2 ? ~0ull : plat_time_ns() + wait;
}

/* No doorbell rings for what memory has done: true when something was left. */
static bool memory_poll(void)
{
	for (u32 i = 0; i < MEMORY_TURNS && memdisk_pending(m.blk); i++) {
		blk_poll(m.blk);
		store_poll();
	}
	return memdisk_pending(m.blk);
}

/** machine_poll() - see machine.h */
bool machine_poll(void)
{
	bool more = false;
	u64 at = plat_time_ns();

	if (!m.started || m.start_err)
		return false;
	more |= frontend_poll();
	at = phase_done(at, "guest-commands");
	if (m.memory)
		blk_poll(m.blk);
	else
		backends_poll();
	at = phase_done(at, "disk");
	more |= guest_network_poll(at);
	if (m.source)
		more |= network_poll(at);
	nic_signal();
	at = phase_done(at, "network");
	store_poll();
	if (m.memory)
		more |= memory_poll();
	at = phase_done(at, "store");
	more |= frontend_poll();
	phase_done(at, "completions");
	return more;
}

/** machine_explains_nmi() - see machine.h */
bool machine_explains_nmi(void)
{
	u64 now = plat_time_ns();
	bool ours = false;

	if (!m.started)
		return false;
	if (backends_work())
		ours = true;
	if (nic_explains_nmi())
		ours = true;
	if (ours)
		__atomic_store_n(&m.work_ns, now, __ATOMIC_RELAXED);
	return ours || now - __atomic_load_n(&m.work_ns, __ATOMIC_RELAXED) < STRAY_NMI_NS;
}

/* ------------------------------------------------- status */

void machine_status(struct handoff_status *out)
{
	struct deploy_status st;

	memset(out, 0, sizeof(*out));
	out->vmm_bytes = core_handoff->region_bytes;
	out->percent = 0xffffffff;
	out->disk_bdf = m.disk_bdf;
	memcpy(out->uuid, m.uuid, sizeof(out->uuid));
	if (!m.started)
		return;
	if (m.start_err) {
		out->state = HS_TROUBLE;
		out->code = m.start_code;
		fmt_snprintf(out->text, sizeof(out->text), "%s: %s",
			     m.start_code == FR_NO_DISK ? "no disk" :
			     m.start_code == FR_DISK_FAILED ? "the disk does not answer" :
			     "internal error", err_name(m.start_err));
		return;
	}
	pump_lock();
	deploy_status(m.deploy, &st);
	out->state = st.state;
	out->code = st.code;
	out->percent = st.percent;
	out->can_boot_cache = st.can_boot_cache;
	memcpy(out->text, st.text, MIN(sizeof(out->text), sizeof(st.text)));
	out->text[sizeof(out->text) - 1] = 0;
	out->disk_bytes = st.disk_bytes;
	out->sector_bytes = deploy_disk(m.deploy) ? deploy_disk(m.deploy)->sector_bytes : 0;
	out->fetched_bytes = st.fetched_bytes;
	pump_unlock();
}

int machine_action(u32 action)
{
	int err;

	if (!m.deploy)
		return -EAGAIN;
	pump_lock();
	err = deploy_action(m.deploy, action == HA_BOOT_CACHE ? DEPLOY_BOOT_CACHE : DEPLOY_RETRY);
	pump_unlock();
	return err;
}

#define SAY(fmt, ...) log_info("figures: " fmt, __VA_ARGS__)
#define LLU(x) ((unsigned long long)(x))

static void say_disk(const struct disk_stats *s)
{
	SAY("guest_reads=%llu guest_writes=%llu guest_read_bytes=%llu guest_write_bytes=%llu "
	    "asked_bytes=%llu", LLU(s->guest_reads), LLU(s->guest_writes),
	    LLU(s->guest_read_bytes), LLU(s->guest_write_bytes), LLU(s->asked_bytes));
	SAY("local_bytes=%llu overlay_bytes=%llu zero_bytes=%llu copied_bytes=%llu "
	    "fetched_bytes=%llu", LLU(s->local_bytes), LLU(s->overlay_bytes),
	    LLU(s->zero_bytes), LLU(s->copied_bytes), LLU(s->fetched_bytes));
	SAY("demand_chunks=%llu ahead_chunks=%llu ahead_used=%llu fill_chunks=%llu "
	    "chunks_present=%llu chunks_total=%llu complete=%u", LLU(s->demand_chunks),
	    LLU(s->ahead_chunks), LLU(s->ahead_used), LLU(s->fill_chunks),
	    LLU(s->chunks_present), LLU(s->chunks_total), s->complete);
	SAY("corrupt_chunks=%llu repaired_chunks=%llu failed_reads=%llu failed_writes=%llu "
	    "longest_read_us=%llu", LLU(s->corrupt_chunks), LLU(s->repaired_chunks),
	    LLU(s->failed_reads), LLU(s->failed_writes), LLU(s->longest_read_ns / NS_PER_US));
}

/**
 * machine_say() - see machine.h. Takes the pump.
 *
 * The longest stays are those since the last call.
 */
void machine_say(void)
{
	struct disk_stats ds;
	struct source_status ss;

	m.saying = true;
	log_info("counters: begin");
	counters_log();
	counters_reset_longest();

	if (m.started && !m.start_err) {
		pump_lock();
		if (deploy_vdisk(m.deploy)) {
			disk_stats(deploy_vdisk(m.deploy), &ds);
			say_disk(&ds);
		}
		if (m.source) {
			m.source->ops->status(m.source, &ss);
			SAY("wire_bytes=%llu plain_bytes=%llu chunks=%llu corrupt=%llu "
			    "retries=%llu", LLU(ss.wire_bytes), LLU(ss.plain_bytes), LLU(ss.chunks),
			    LLU(ss.corrupt), LLU(ss.retries));
		}
		frontend_say();
		nic_say();
		SAY("longest_phase_us=%llu phase=%s", LLU(m.longest_ns / NS_PER_US),
		    m.longest_phase ? m.longest_phase : "none");
		m.longest_ns = 0;
		pump_unlock();
	}
	SAY("tick_more=%llu tick_owed=%llu tick_log=%llu tick_network=%llu tick_disk=%llu "
	    "tick_store=%llu tick_fill=%llu", LLU(m.tick_turns[TICK_MORE]),
	    LLU(m.tick_turns[TICK_NET_OWED]), LLU(m.tick_turns[TICK_LOG]),
	    LLU(m.tick_turns[TICK_NETWORK]), LLU(m.tick_turns[TICK_DISK]),
	    LLU(m.tick_turns[TICK_STORE]), LLU(m.tick_turns[TICK_FILL]));
	SAY("reserved_bytes=%llu used_bytes=%llu tick=%u", LLU(core_handoff->region_bytes),
	    LLU(memory_used()), m.tick != TICK_OFF);
	log_info("counters: end");
	m.saying = false;
}
