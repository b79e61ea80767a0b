/*
 * deploy_pick.c - which of a PC's disks it is
 *
 * A disk is looked at, and then the next, until one carries our label: that is
 * the one, and it needs no ticket. (If several do, the first; the owner of the
 * list puts the one that this boot came from first.) When none does, the ticket
 * decides, and the order of the disks never:
 *
 *   claim serial:S   the disk with that serial number, if exactly one has it
 *   claim blank      the disk that an interrupted claim was preparing, else the
 *                    blank one; if there are several, none: the screen names them
 *
 * Nothing has been written to any of them before. A disk that is too small or of
 * odd sectors does not stand in another one's way; one that cannot be read does,
 * unless another carries our label or is claimed by its serial number: it may be
 * ours, and a blank one beside it must not be taken for it. From the choice on there is only one
 * disk, and everything else is as on a PC that has no more.
 */
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "storage/core/deploy_priv.h"

static void choose(struct deploy *d, u32 i)
{
	d->cfg.blk = d->disk_list[i].blk;
	d->kind = d->disk_list[i].kind;
	d->disk_list[0] = d->disk_list[i];
	d->disk_count = 1;
	d->disk_at = 0;
}

/** deploy_pick_init() - the disks of the configuration, before the first look */
void deploy_pick_init(struct deploy *d)
{
	d->disk_list[0].blk = d->cfg.blk;
	d->disk_count = 1;
	for (u32 i = 0; i < d->cfg.nmore && d->disk_count < DEPLOY_DISKS_MAX; i++)
		d->disk_list[d->disk_count++].blk = d->cfg.more[i];
}

/** deploy_pick_looked() - the disk under the eye is of d->kind: the next one, or on with it */
bool deploy_pick_looked(struct deploy *d)
{
	d->disk_list[d->disk_at] = (struct deploy_disk){ .blk = d->cfg.blk, .kind = d->kind };
	if (d->kind == GPT_DISK_OURS) {
		choose(d, d->disk_at);
		deploy_go(d, STEP_OPEN);
		return true;
	}
	if (d->disk_at + 1 < d->disk_count) {
		d->cfg.blk = d->disk_list[++d->disk_at].blk;
		deploy_go(d, STEP_PROBE_HEAD);
		return true;
	}
	deploy_go(d, STEP_NETWORK);
	return true;
}

/**
 * deploy_pick_skip() - this disk cannot be used
 * @err: of a read, 0: it can be read, and is not for us
 *
 * Return: false: there is no other to look at.
 */
bool deploy_pick_skip(struct deploy *d, int err)
{
	struct deploy_disk *k = &d->disk_list[d->disk_at];

	if (d->disk_count == 1)
		return false;
	log_warn("deploy: disk not usable serial=%s err=%s", d->cfg.blk->serial, err_name(err));
	d->kind = GPT_DISK_FOREIGN;
	deploy_pick_looked(d);
	k->useless = true;
	k->unread = err;
	return true;
}

/* The serial numbers of disks of @kind, or of all for GPT_DISK_FOREIGN, for the screen. */
static u32 list_disks(const struct deploy *d, enum gpt_disk kind, char *out, u32 room)
{
	u32 n = 0, found = 0;

	out[0] = 0;
	for (u32 i = 0; i < d->disk_count; i++) {
		const struct deploy_disk *k = &d->disk_list[i];

		if (kind != GPT_DISK_FOREIGN && (k->kind != kind || k->useless))
			continue;
		found++;
		if (n + 1 < room)
			n += (u32)fmt_snprintf(out + n, room - n, "%s%s", n ? ", " : "",
					       k->blk->serial);
	}
	return found;
}

static bool pick_serial(struct deploy *d)
{
	const char *want = d->ticket.claim_serial;
	u32 found = 0, at = 0;
	char list[80];

	for (u32 i = 0; i < d->disk_count; i++)
		if (!d->disk_list[i].useless && !strcmp(d->disk_list[i].blk->serial, want)) {
			found++;
			at = i;
		}
	if (found == 1) {
		choose(d, at);
		return true;
	}
	list_disks(d, GPT_DISK_FOREIGN, list, sizeof(list));
	return deploy_fail(d, STEP_TICKET, DEPLOY_DISK_FOREIGN,
			   "%s the claimed serial number %s; there are %s",
			   found ? "several disks have" : "no disk has", want, list);
}

/* All are looked at again. */
static bool one_unread(struct deploy *d, const struct deploy_disk *k)
{
	d->disk_at = 0;
	d->cfg.blk = d->disk_list[0].blk;
	return deploy_fail(d, STEP_PROBE_HEAD, DEPLOY_DISK_FAILED,
			   "disk %s cannot be read, so no blank one is taken", k->blk->serial);
}

static bool pick_blank(struct deploy *d)
{
	enum gpt_disk kind = GPT_DISK_CLAIMING;
	char list[80];
	u32 n = list_disks(d, kind, list, sizeof(list));

	for (u32 i = 0; i < d->disk_count; i++)
		if (d->disk_list[i].unread)
			return one_unread(d, &d->disk_list[i]);
	if (!n) {
		kind = GPT_DISK_BLANK;
		n = list_disks(d, kind, list, sizeof(list));
	}
	for (u32 i = 0; i < d->disk_count && n == 1; i++)
		if (d->disk_list[i].kind == kind && !d->disk_list[i].useless) {
			choose(d, i);
			return true;
		}
	if (n)
		return deploy_fail(d, STEP_TICKET, DEPLOY_DISK_FOREIGN,
				   "%u blank disks (%s): claim one by its serial number", n, list);
	list_disks(d, GPT_DISK_FOREIGN, list, sizeof(list));
	return deploy_fail(d, STEP_TICKET, DEPLOY_DISK_FOREIGN,
			   "no disk is blank (%s); none was touched", list);
}

/**
 * deploy_pick_by_ticket() - none is ours: which one does the ticket mean?
 *
 * Return: true, and there is one disk; false, and the trouble has been said.
 */
bool deploy_pick_by_ticket(struct deploy *d)
{
	char list[80];

	if (d->disk_count == 1)
		return true;
	switch (d->ticket.claim) {
	case TICKET_CLAIM_SERIAL:
		return pick_serial(d);
	case TICKET_CLAIM_BLANK:
		return pick_blank(d);
	default:
		list_disks(d, GPT_DISK_FOREIGN, list, sizeof(list));
		return deploy_fail(d, STEP_TICKET, DEPLOY_DISK_FOREIGN,
				   "no disk is claimed for this machine; there are %s", list);
	}
}

/** deploy_real_disk() - see deploy.h */
struct blk_dev *deploy_real_disk(struct deploy *d)
{
	return d->cfg.blk;
}
