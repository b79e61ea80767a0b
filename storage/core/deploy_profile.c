/*
 * deploy_profile.c - the boot profile between a PC and its server
 *
 * A PC whose store is not complete asks for the profile of what it shows, once a
 * boot, right when the disk is ready: the guest does not wait for the answer. The
 * disk then fetches what it lists (profile.c).
 *
 * The first boot of a version on this PC is noted and told to the server: from
 * ready until the guest is up and has read nothing new for a while. Whatever goes
 * wrong here costs time at the next PC's boot, and nothing else.
 */
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/deploy_priv.h"

#define PROFILE_QUIET_NS (10 * NS_PER_SEC)
#define PROFILE_LONGEST_NS (300 * NS_PER_SEC)

/** deploy_profile_due() - is there a profile to ask for? */
bool deploy_profile_due(const struct deploy *d)
{
	return !d->profile_asked && d->cfg.source && !store_meta(d->store)->complete &&
	       !(d->have_ticket && d->ticket.metered);
}

static void play(struct deploy *d, u32 n)
{
	int err = profile_verify(d->profile, n, d->cfg.keys, d->cfg.nkeys);

	if (!err)
		err = disk_profile_play(d->disk, d->profile, n);
	if (err)
		log_warn("deploy: boot profile not used err=%s", err_name(err));
}

/** deploy_profile_run() - get it and have it played; -EINPROGRESS until that is settled */
int deploy_profile_run(struct deploy *d)
{
	char path[16 + 2 * SHA256_BYTES], hex[2 * SHA256_BYTES + 1];
	int err;

	d->profile_asked = true;
	if (!d->profile)
		d->profile = plat_alloc(PROFILE_BYTES_MAX);
	if (!d->profile)
		return -ENOMEM;
	fmt_snprintf(path, sizeof(path), "/v1/profile/%s",
		     fmt_hex(hex, store_meta(d->store)->version, SHA256_BYTES));
	err = deploy_doc_run(d, path, d->profile, PROFILE_BYTES_MAX);
	if (err == -EINPROGRESS)
		return err;
	if (!err)
		play(d, d->doc.doc.bytes);
	else
		log_info("deploy: no boot profile err=%s", err_name(err));
	plat_free(d->profile);
	d->profile = NULL;
	return 0;
}

/* ns until the boot counts as over; 0: it is; ~0: not before something happens */
static u64 boot_left(struct deploy *d, u64 now)
{
	struct disk_profile p;
	u64 end = d->attached_ns + PROFILE_LONGEST_NS;
	u64 up_at = d->attached_ns + GUEST_UP_NS, quiet_at;

	disk_profile_state(d->disk, &p);
	if (p.full || now >= end)
		return 0;
	if (d->guest_up || store_meta(d->store)->up)
		up_at = now;
	quiet_at = MAX(p.last_ns + PROFILE_QUIET_NS, up_at);
	if (disk_waiting(d->disk))
		quiet_at = MAX(quiet_at, now + PROFILE_QUIET_NS);
	return now >= quiet_at ? 0 : MIN(quiet_at, end) - now;
}

static void tell(struct deploy *d)
{
	char path[32 + GUID_TEXT_BYTES], uuid[GUID_TEXT_BYTES];
	u8 *buf = plat_alloc(PROFILE_BYTES_MAX);
	u32 n = buf ? disk_profile_build(d->disk, buf, PROFILE_BYTES_MAX) : 0;

	fmt_snprintf(path, sizeof(path), "/v1/profile?uuid=%s", guid_format(uuid, d->cfg.uuid));
	if (n)
		d->cfg.source->ops->post(d->cfg.source, path, buf, n);
	plat_free(buf);
	d->profile_wanted = false;
}

/**
 * deploy_profile_poll() - notice the end of the boot, and tell the server
 *
 * Return: ns until it wants to be called again.
 */
u64 deploy_profile_poll(struct deploy *d, u64 now)
{
	struct source_status st;
	struct disk_profile p;
	struct disk_stats s;
	u64 left;

	if (!d->attached || (d->profile_over && !d->profile_wanted))
		return ~0ull;
	if (!d->profile_over) {
		left = boot_left(d, now);
		if (left)
			return left;
		d->profile_over = true;
		disk_profile_stop(d->disk);
		disk_profile_state(d->disk, &p);
		disk_stats(d->disk, &s);
		log_info("deploy: the boot is over s=%llu read_chunks=%u runs=%u demand=%llu"
			 " listed=%llu ahead=%llu",
			 (unsigned long long)((now - d->attached_ns) / NS_PER_SEC), p.chunks,
			 p.runs, (unsigned long long)s.demand_chunks,
			 (unsigned long long)s.listed_chunks, (unsigned long long)s.ahead_chunks);
	}
	if (!d->profile_wanted)
		return ~0ull;
	d->cfg.source->ops->status(d->cfg.source, &st);
	if (st.state == SOURCE_UP)
		tell(d);
	return ~0ull; /* a source that comes up calls again */
}
