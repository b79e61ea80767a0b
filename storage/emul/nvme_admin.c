/*
 * nvme_admin.c - admin commands of the NVMe front-end [NVMe 1.4 §5]
 *
 * One namespace, one power state, no firmware to change, no formatting: what
 * is optional and not needed by the drivers of Linux, UEFI and Windows answers
 * Invalid Opcode or Invalid Field, as a controller without it does.
 */
#include <string.h>

#include "base/fmt.h"
#include "base/plat.h"
#include "storage/emul/nvme_priv.h"

#define KELVIN 273u
#define TEMP_WARN (KELVIN + 70)
#define TEMP_CRIT (KELVIN + 80)
#define TEMP_NOW (KELVIN + 40)

/* CDW11 of the temperature threshold feature */
#define TEMP_TMPTH 0x0000ffffu
#define TEMP_TMPSEL 0x000f0000u
#define TEMP_THSEL 0x00300000u

/* ---------------------------------------------------------------- queues */

/* A queue's memory, as far as it can be checked once: all of it the guest's. */
static u16 queue_memory(struct nvme_emul *e, u64 base, u32 bytes)
{
	hpa_t pa;

	if (base & (PAGE_BYTES - 1))
		return NVME_SC_PRP_OFFSET;
	return e->host->ops->map(e->host, GPA(base), bytes, &pa) ? NVME_SC_INVALID_FIELD :
								   NVME_SC_OK;
}

static u16 create_cq(struct nvme_emul *e, const struct nvme_sqe *s)
{
	u32 qid = FIELD_GET(NVME_CQ_QID, s->cdw10);
	u32 qsize = FIELD_GET(NVME_CQ_QSIZE, s->cdw10);
	u32 vector = FIELD_GET(NVME_CQ_IV, s->cdw11);
	struct emul_cq *q;
	u16 status;

	if (!qid || qid > e->queues || e->cq[qid].live)
		return NVME_SC_INVALID_QID;
	if (!qsize || qsize > EMUL_MQES)
		return NVME_SC_INVALID_QSIZE;
	if (!(s->cdw11 & NVME_QUEUE_PC) || FIELD_GET(NVME_CC_IOCQES, e->cc) != NVME_CQES)
		return NVME_SC_INVALID_FIELD;
	if (vector >= e->vectors)
		return NVME_SC_INVALID_VECTOR;
	status = queue_memory(e, s->prp1, (qsize + 1) * (u32)sizeof(struct nvme_cqe));
	if (status)
		return status;
	q = &e->cq[qid];
	q->ien = s->cdw11 & NVME_CQ_IEN;
	q->vector = (u16)vector;
	q->size = qsize + 1;
	q->head = q->tail = q->sqs = 0;
	q->phase = true;
	q->base = GPA(s->prp1);
	q->live = true;
	__atomic_store_n(&e->db[2 * qid + 1], 0, __ATOMIC_RELAXED);
	nvme_dbbuf_ring(e, 2 * qid + 1, 0);
	return NVME_SC_OK;
}

static u16 create_sq(struct nvme_emul *e, const struct nvme_sqe *s)
{
	u32 qid = FIELD_GET(NVME_CQ_QID, s->cdw10);
	u32 qsize = FIELD_GET(NVME_CQ_QSIZE, s->cdw10);
	u32 cqid = FIELD_GET(NVME_SQ_CQID, s->cdw11);
	struct emul_sq *q;
	u16 status;

	if (!qid || qid > e->queues || e->sq[qid].live || !cqid || cqid > e->queues)
		return NVME_SC_INVALID_QID;
	if (!e->cq[cqid].live)
		return NVME_SC_INVALID_CQ;
	if (!qsize || qsize > EMUL_MQES)
		return NVME_SC_INVALID_QSIZE;
	if (!(s->cdw11 & NVME_QUEUE_PC) || FIELD_GET(NVME_CC_IOSQES, e->cc) != NVME_SQES)
		return NVME_SC_INVALID_FIELD;
	status = queue_memory(e, s->prp1, (qsize + 1) * (u32)sizeof(struct nvme_sqe));
	if (status)
		return status;
	q = &e->sq[qid];
	q->cqid = (u16)cqid;
	q->size = qsize + 1;
	q->head = q->tail = q->inflight = 0;
	q->deleting = NULL;
	q->base = GPA(s->prp1);
	q->live = true;
	e->cq[cqid].sqs++;
	__atomic_store_n(&e->db[2 * qid], 0, __ATOMIC_RELAXED);
	nvme_dbbuf_ring(e, 2 * qid, 0);
	return NVME_SC_OK;
}

/* Its commands end first; entries that were not fetched are forgotten. */
static u16 delete_sq(struct nvme_emul *e, struct emul_cmd *c)
{
	u32 qid = FIELD_GET(NVME_CQ_QID, c->sqe.cdw10);
	struct emul_sq *q;

	if (!qid || qid > e->queues || !e->sq[qid].live || e->sq[qid].deleting)
		return NVME_SC_INVALID_QID;
	q = &e->sq[qid];
	if (q->inflight) {
		q->deleting = c;
		return NVME_LATER;
	}
	q->live = false;
	e->cq[q->cqid].sqs--;
	return NVME_SC_OK;
}

static u16 delete_cq(struct nvme_emul *e, const struct nvme_sqe *s)
{
	u32 qid = FIELD_GET(NVME_CQ_QID, s->cdw10);

	if (!qid || qid > e->queues || !e->cq[qid].live)
		return NVME_SC_INVALID_QID;
	if (e->cq[qid].sqs)
		return NVME_SC_INVALID_QDEL;
	nvme_emul_ring_forget(e, &e->cq[qid]);
	return NVME_SC_OK;
}

/* ---------------------------------------------------------------- Identify */

static void pad(u8 *to, size_t room, const char *text)
{
	size_t n = MIN(strlen(text), room);

	memset(to, ' ', room);
	memcpy(to, text, n);
}

static void identify_ctrl(const struct nvme_emul *e, struct nvme_id_ctrl *c)
{
	c->vid = e->vendor;
	c->ssvid = e->subvendor;
	pad(c->sn, sizeof(c->sn), e->serial);
	pad(c->mn, sizeof(c->mn), e->model);
	pad(c->fr, sizeof(c->fr), "1.0");
	c->rab = 6;
	c->mdts = (u8)e->mdts;
	c->cntlid = 1;
	c->ver = NVME_VS_1_4;
	c->rtd3e = 10 * 1000 * 1000;
	c->cntrltype = NVME_CNTRLTYPE_IO;
	c->oacs = NVME_OACS_DBBUF;
	c->acl = 3;
	c->aerl = EMUL_AERS - 1;
	c->frmw = 1 << 1 | 1; /* one slot, read-only */
	c->wctemp = TEMP_WARN;
	c->cctemp = TEMP_CRIT;
	c->sqes = NVME_SQES << 4 | NVME_SQES;
	c->cqes = NVME_CQES << 4 | NVME_CQES;
	c->nn = 1;
	c->oncs = NVME_ONCS_DSM | NVME_ONCS_WRITE_ZEROES;
	c->vwc = NVME_VWC_FLUSH_ALL | (e->blk->write_cache ? NVME_VWC_PRESENT : 0);
	c->psd[0].max_power = 2500;
	c->psd[0].entry_us = 16;
	c->psd[0].exit_us = 4;
	fmt_snprintf((char *)c->subnqn, sizeof(c->subnqn),
		     "nqn.2014.08.org.nvmexpress:%04x%04x%-20s%-40s", e->vendor, e->subvendor,
		     e->serial, e->model);
}

/* Sixteen bytes that follow from model and serial: FNV-1a, twice. */
static void nguid(const struct nvme_emul *e, u8 out[16])
{
	u32 half, i;

	for (half = 0; half < 2; half++) {
		u64 h = 0xcbf29ce484222325ull ^ half;

		for (i = 0; i < sizeof(e->model); i++)
			h = (h ^ (u8)e->model[i]) * 0x100000001b3ull;
		for (i = 0; i < sizeof(e->serial); i++)
			h = (h ^ (u8)e->serial[i]) * 0x100000001b3ull;
		memcpy(out + 8 * half, &h, sizeof(h));
	}
}

static void identify_ns(const struct nvme_emul *e, struct nvme_id_ns *n)
{
	n->nsze = n->ncap = n->nuse = e->blk->sectors;
	n->dlfeat = NVME_DLFEAT_ZEROES;
	n->lbaf[0].lbads = (u8)__builtin_ctz(e->blk->sector_bytes);
	nguid(e, n->nguid);
}

static void identify_desc(const struct nvme_emul *e, u8 *page)
{
	struct nvme_ns_desc d = { .type = NVME_NIDT_NGUID, .bytes = 16 };

	memcpy(page, &d, sizeof(d));
	nguid(e, page + sizeof(struct nvme_ns_desc));
}

static u16 identify(struct nvme_emul *e, struct emul_cmd *c)
{
	u32 cns = c->sqe.cdw10 & 0xff, nsid = c->sqe.nsid;

	memset(e->page, 0, sizeof(e->page));
	switch (cns) {
	case NVME_CNS_NS:
		if (nsid != 1)
			return NVME_SC_INVALID_NS;
		identify_ns(e, (struct nvme_id_ns *)e->page);
		break;
	case NVME_CNS_CTRL:
		identify_ctrl(e, (struct nvme_id_ctrl *)e->page);
		break;
	case NVME_CNS_NS_LIST:
		if (nsid >= NVME_NSID_ALL - 1)
			return NVME_SC_INVALID_NS;
		if (!nsid)
			e->page[0] = 1;
		break;
	case NVME_CNS_NS_DESC:
		if (nsid != 1)
			return NVME_SC_INVALID_NS;
		identify_desc(e, e->page);
		break;
	default:
		return NVME_SC_INVALID_FIELD;
	}
	return nvme_emul_to_guest(e, c, e->page, PAGE_BYTES, PAGE_BYTES);
}

/* ---------------------------------------------------------------- features */

/** nvme_emul_features_reset() - every feature to its default */
void nvme_emul_features_reset(struct nvme_emul *e)
{
	u32 i;

	memset(e->feat, 0, sizeof(e->feat));
	e->feat[NVME_FEAT_ARBITRATION] = 7; /* no limit of burst */
	e->feat[NVME_FEAT_VWC] = e->blk->write_cache;
	e->feat[NVME_FEAT_QUEUES] = (e->queues - 1) << 16 | (e->queues - 1);
	e->temp_over = TEMP_WARN;
	e->temp_under = 0;
	for (i = 0; i < e->vectors; i++)
		e->vector_cfg[i] = i;
}

/* The composite temperature alone; other sensors do not exist. */
static u32 *temp_threshold(struct nvme_emul *e, u32 cdw11, bool set)
{
	u32 sensor = FIELD_GET(TEMP_TMPSEL, cdw11);

	if (sensor && !(set && sensor == 0xf))
		return NULL;
	switch (FIELD_GET(TEMP_THSEL, cdw11)) {
	case 0:
		return &e->temp_over;
	case 1:
		return &e->temp_under;
	default:
		return NULL;
	}
}

static bool io_queues_exist(const struct nvme_emul *e)
{
	u32 i;

	for (i = 1; i <= e->queues; i++) {
		if (e->cq[i].live || e->sq[i].live)
			return true;
	}
	return false;
}

static u16 set_queues(struct nvme_emul *e, struct emul_cmd *c)
{
	if ((c->sqe.cdw11 & 0xffff) == 0xffff || c->sqe.cdw11 >> 16 == 0xffff)
		return NVME_SC_INVALID_FIELD;
	if (io_queues_exist(e))
		return NVME_SC_SEQUENCE;
	c->result = e->feat[NVME_FEAT_QUEUES];
	return NVME_SC_OK;
}

static u16 set_features(struct nvme_emul *e, struct emul_cmd *c)
{
	u32 fid = FIELD_GET(NVME_FEAT_FID, c->sqe.cdw10), v = c->sqe.cdw11;
	u32 *slot;

	if (c->sqe.cdw10 & NVME_FEAT_SV)
		return NVME_SC_NOT_SAVEABLE;
	switch (fid) {
	case NVME_FEAT_ARBITRATION:
	case NVME_FEAT_COALESCING: /* taken note of; we never delay */
	case NVME_FEAT_ATOMICITY:
		break;
	case NVME_FEAT_ASYNC:
		v &= 0xff; /* SMART warnings; no notices */
		break;
	case NVME_FEAT_POWER:
		if (v & 0x1f)
			return NVME_SC_INVALID_FIELD;
		break;
	case NVME_FEAT_TEMP:
		slot = temp_threshold(e, v, true);
		if (!slot)
			return NVME_SC_INVALID_FIELD;
		*slot = v & TEMP_TMPTH;
		return NVME_SC_OK;
	case NVME_FEAT_ERROR_RECOVERY:
		if (v & BIT(16)) /* errors for deallocated blocks */
			return NVME_SC_INVALID_FIELD;
		break;
	case NVME_FEAT_VWC:
		if (!e->blk->write_cache)
			return NVME_SC_INVALID_FIELD;
		v &= 1;
		break;
	case NVME_FEAT_QUEUES:
		return set_queues(e, c);
	case NVME_FEAT_VECTOR:
		if ((v & 0xffff) >= e->vectors)
			return NVME_SC_INVALID_FIELD;
		e->vector_cfg[v & 0xffff] = v & 0x1ffff;
		return NVME_SC_OK;
	default:
		return NVME_SC_INVALID_FIELD;
	}
	e->feat[fid] = v;
	return NVME_SC_OK;
}

static u16 get_features(struct nvme_emul *e, struct emul_cmd *c)
{
	u32 fid = FIELD_GET(NVME_FEAT_FID, c->sqe.cdw10), v = c->sqe.cdw11;
	u32 *slot;

	switch (fid) {
	case NVME_FEAT_TEMP:
		slot = temp_threshold(e, v, false);
		if (!slot)
			return NVME_SC_INVALID_FIELD;
		c->result = *slot;
		return NVME_SC_OK;
	case NVME_FEAT_VECTOR:
		if ((v & 0xffff) >= e->vectors)
			return NVME_SC_INVALID_FIELD;
		c->result = e->vector_cfg[v & 0xffff];
		return NVME_SC_OK;
	case NVME_FEAT_VWC:
		if (!e->blk->write_cache)
			return NVME_SC_INVALID_FIELD;
		break;
	case NVME_FEAT_ARBITRATION:
	case NVME_FEAT_POWER:
	case NVME_FEAT_ERROR_RECOVERY:
	case NVME_FEAT_QUEUES:
	case NVME_FEAT_COALESCING:
	case NVME_FEAT_ATOMICITY:
	case NVME_FEAT_ASYNC:
		break;
	default:
		return NVME_SC_INVALID_FIELD;
	}
	c->result = e->feat[fid];
	return NVME_SC_OK;
}

/* ---------------------------------------------------------------- log pages */

static u64 units(u64 sectors, u32 sector_bytes)
{
	return DIV_ROUND_UP(sectors * (sector_bytes / 512), 1000);
}

static void smart_log(const struct nvme_emul *e, struct nvme_smart_log *l)
{
	l->temperature[0] = TEMP_NOW & 0xff;
	l->temperature[1] = TEMP_NOW >> 8;
	l->spare = 100;
	l->spare_threshold = 10;
	l->units_read[0] = units(e->stats.sectors_read, e->blk->sector_bytes);
	l->units_written[0] = units(e->stats.sectors_written, e->blk->sector_bytes);
	l->reads[0] = e->stats.reads;
	l->writes[0] = e->stats.writes;
	l->power_cycles[0] = 1;
	l->power_on_hours[0] = plat_time_ns() / (3600 * NS_PER_SEC);
}

static u16 get_log(struct nvme_emul *e, struct emul_cmd *c)
{
	u32 lid = FIELD_GET(NVME_LOG_LID, c->sqe.cdw10), bytes;
	u64 dwords = ((u64)FIELD_GET(NVME_LOG_NUMDL, c->sqe.cdw10) |
		      (u64)FIELD_GET(NVME_LOG_NUMDU, c->sqe.cdw11) << 16) + 1;
	struct nvme_fw_log *fw = (struct nvme_fw_log *)e->page;

	memset(e->page, 0, sizeof(e->page));
	switch (lid) {
	case NVME_LOG_ERROR: /* one entry, of no error */
		bytes = 64;
		if (!(c->sqe.cdw10 & NVME_LOG_RAE))
			e->events_masked = false;
		break;
	case NVME_LOG_SMART:
		if (c->sqe.nsid > 1 && c->sqe.nsid != NVME_NSID_ALL)
			return NVME_SC_INVALID_NS;
		bytes = sizeof(struct nvme_smart_log);
		smart_log(e, (struct nvme_smart_log *)e->page);
		break;
	case NVME_LOG_FIRMWARE:
		bytes = sizeof(*fw);
		fw->afi = 1;
		pad(fw->frs[0], sizeof(fw->frs[0]), "1.0");
		break;
	case NVME_LOG_CHANGED_NS:
		bytes = PAGE_BYTES;
		break;
	default:
		return NVME_SC_INVALID_LOG;
	}
	if (dwords * 4 > (u64)PAGE_BYTES << e->mdts)
		return NVME_SC_INVALID_FIELD;
	return nvme_emul_to_guest(e, c, e->page, bytes, (u32)dwords * 4);
}

/* ---------------------------------------------------------------- events */

/* Tell one event, if one waits and a request for it is here. */
static void events_tell(struct nvme_emul *e)
{
	struct emul_cmd *c = list_first(&e->free, struct emul_cmd, link);
	u32 info;

	if (!e->events || e->events_masked || !e->naers || !c)
		return;
	info = (u32)__builtin_ctz(e->events);
	e->events &= ~BIT(info);
	e->events_masked = true;
	list_del(&c->link);
	e->nfree--;
	list_add_tail(&e->busy, &c->link);
	memset(&c->sqe, 0, sizeof(c->sqe));
	c->sqe.cid = e->aers[--e->naers];
	c->sqid = 0;
	c->in_blk = c->orphan = false;
	e->sq[0].inflight++;
	c->result = (u32)FIELD_PREP(NVME_AER_INFO, info) |
		    (u32)FIELD_PREP(NVME_AER_LID, NVME_LOG_ERROR);
	nvme_emul_complete(e, c, NVME_SC_OK);
}

/**
 * nvme_emul_event() - an error event for the host; ~0: only tell what waits
 * @info: NVME_AER_BAD_DB_*
 */
void nvme_emul_event(struct nvme_emul *e, u32 info)
{
	if (info < 32) {
		e->stats.bad_doorbells++;
		e->events |= BIT(info);
	}
	events_tell(e);
}

static u16 async_event(struct nvme_emul *e, struct emul_cmd *c)
{
	if (e->naers == EMUL_AERS)
		return NVME_SC_AER_LIMIT;
	e->aers[e->naers++] = c->sqe.cid;
	/* Kept by its identifier alone; no command is held. */
	e->sq[0].inflight--;
	list_del(&c->link);
	list_add(&e->free, &c->link);
	e->nfree++;
	events_tell(e);
	return NVME_LATER;
}

/* What the block device has cannot be called back. */
static u16 abort_cmd(struct emul_cmd *c)
{
	c->result = 1;
	return NVME_SC_OK;
}

/**
 * nvme_emul_admin() - carry out an admin command
 *
 * Context: owner. Return: status, or NVME_LATER.
 */
u16 nvme_emul_admin(struct nvme_emul *e, struct emul_cmd *c)
{
	u16 status;

	e->stats.admin++;
	switch (c->sqe.opcode) {
	case NVME_ADM_DELETE_SQ:
		status = delete_sq(e, c);
		break;
	case NVME_ADM_CREATE_SQ:
		status = create_sq(e, &c->sqe);
		break;
	case NVME_ADM_GET_LOG:
		status = get_log(e, c);
		break;
	case NVME_ADM_DELETE_CQ:
		status = delete_cq(e, &c->sqe);
		break;
	case NVME_ADM_CREATE_CQ:
		status = create_cq(e, &c->sqe);
		break;
	case NVME_ADM_IDENTIFY:
		status = identify(e, c);
		break;
	case NVME_ADM_ABORT:
		status = abort_cmd(c);
		break;
	case NVME_ADM_SET_FEATURES:
		status = set_features(e, c);
		break;
	case NVME_ADM_GET_FEATURES:
		status = get_features(e, c);
		break;
	case NVME_ADM_DBBUF:
		status = nvme_dbbuf_config(e, &c->sqe);
		break;
	case NVME_ADM_AER:
		status = async_event(e, c);
		break;
	default:
		status = NVME_SC_INVALID_OPCODE;
	}
	return status && status != NVME_LATER ? status | NVME_DNR : status;
}
