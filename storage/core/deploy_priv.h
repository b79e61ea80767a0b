/*
 * deploy_priv.h - one boot's state, shared by the deploy*.c files
 *
 * Steps are functions that are called until they have nothing to do; what they
 * wait for (an I/O, a document, a chunk) is one slot each, and a slot's run
 * function answers -EINPROGRESS until it is done. Callbacks only record.
 */
#ifndef STORAGE_CORE_DEPLOY_PRIV_H
#define STORAGE_CORE_DEPLOY_PRIV_H

#include "storage/core/deploy.h"
#include "storage/format/gpt.h"
#include "storage/format/manifest.h"
#include "storage/format/profile.h"
#include "storage/format/ticket.h"

#define DEPLOY_WORK_BYTES (1 * MIB) /* also the largest chunk */
#define DEPLOY_DOC_BYTES (SIGTEXT_MAX + 1)
#define GUEST_UP_NS (60 * NS_PER_SEC) /* a guest that still uses its disk then is up */
#define DEPLOY_ESP_CHUNKS_MAX (GPT_ESP_BYTES / MANIFEST_CHUNK_MIN)

enum deploy_step {
	STEP_PROBE_HEAD,
	STEP_PROBE_TAIL,
	STEP_PROBE_SAMPLES,
	STEP_OPEN,
	STEP_NETWORK,
	STEP_TICKET,
	STEP_MANIFEST,
	STEP_DECIDE,
	STEP_MARK,
	STEP_ESP,
	STEP_FORMAT,
	STEP_TABLES,
	STEP_BIND,
	STEP_READY,
	STEP_COUNT,
};

/* Installing an ESP image: in a claim, or as an update behind a running guest. */
enum esp_step {
	ESP_IDLE,
	ESP_MANIFEST,
	ESP_PAGE,
	ESP_LOOK, /* read a chunk: is it there already? */
	ESP_FETCH,
	ESP_WRITE,
	ESP_FLUSH,
	ESP_CHECK, /* read everything again */
};

enum bg_step {
	BG_WAIT, /* until bg_at */
	BG_TICKET,
	BG_PROFILE, /* the boot profile of what is shown */
	BG_NOTE, /* policy, serial, next version into the store */
	BG_UP, /* the mark that a guest has come up */
	BG_STAGE, /* the next version's manifest; then the disk stages it */
	BG_ESP_CLEAR, /* the ESP's version into the store: none */
	BG_ESP,
	BG_ESP_NOTE,
};

struct deploy_io {
	struct blk_req req;
	struct blk_seg seg;
	u8 *buf;
	u32 left; /* sectors after the request under way */
	bool started, busy;
	int err;
};

struct deploy_doc {
	struct source_doc doc;
	bool started, busy;
	bool orphan; /* whoever asked is no longer interested */
	int err;
};

struct deploy_fetch {
	struct source_req req;
	bool started, busy;
	int err;
};

struct deploy_esp {
	enum esp_step step;
	u8 version[SHA256_BYTES];
	struct manifest m; /* m.pages is not valid */
	u8 page[SHA256_BYTES];
	u8 *digests; /* plat_alloc()ed: the page's content */
	u32 chunk, written;
};

struct deploy_disk {
	struct blk_dev *blk;
	enum gpt_disk kind;
	bool useless; /* too small, not readable, odd sectors */
	bool unread; /* not readable */
};

struct deploy {
	struct deploy_cfg cfg;
	enum deploy_step step;

	/* What is shown. */
	enum deploy_state state;
	enum deploy_code code;
	char text[160];
	u32 percent;
	u64 born_ns, state_ns[DEPLOY_TROUBLE + 1]; /* when each state was first entered */

	/* Trying again. */
	enum deploy_step trouble_step; /* furthest that met d->code */
	u64 retry_at; /* no step runs before */
	u64 step_since_ns;
	u32 tries;
	bool update; /* the cache would do: any failure until update_until boots it */
	u64 update_until;

	/* The disk, and those that may be it instead. */
	struct deploy_disk disk_list[DEPLOY_DISKS_MAX];
	u32 disk_count, disk_at;
	enum gpt_disk kind;
	struct gpt_layout layout;
	bool ends_zero;
	u32 sample;
	u8 *work; /* DEPLOY_WORK_BYTES, NULL when not needed */
	u8 head[GPT_HEAD_BYTES_MAX], tail[GPT_TAIL_BYTES_MAX];

	/* The store and what is in it. */
	struct store *store; /* the disk's once there is one */
	bool opening;
	int open_err;
	bool have_cache; /* bound, and its manifest is good */
	bool store_bad; /* damaged or of an unknown format */
	bool must_format; /* the label is ours, the store is not usable */
	bool use_cache; /* bind to what the store has */
	bool use_second; /* bind to the second version that the store has */
	bool roll_back; /* ... because the bound one does not come up */
	struct store_format format;
	bool formatting, format_busy;
	int format_err;
	u32 table_step;

	/* Documents. */
	bool have_ticket;
	struct ticket ticket;
	u64 ticket_ns; /* when it came */
	struct disk_fill fill; /* as the disk was told */
	u8 *manifest; /* plat_alloc()ed until bound */
	u32 manifest_bytes;
	struct manifest m;
	u8 doc_buf[DEPLOY_DOC_BYTES];

	struct deploy_io io;
	struct deploy_doc doc;
	struct deploy_fetch fetch;
	struct deploy_esp esp;
	bool esp_installed; /* by this claim */

	/* The virtual disk. */
	struct disk *disk;
	bool binding, bound;
	int bind_err;
	bool attached;
	u64 attached_ns;
	bool guest_up;
	bool scrubbed; /* the pass of this boot has begun */

	/* The boot profile. */
	u8 *profile; /* PROFILE_BYTES_MAX, plat_alloc()ed while it is being fetched */
	bool profile_asked; /* once a boot */
	bool profile_wanted; /* the first boot of this version here: the server shall know */
	bool profile_over; /* it has been noted */

	/* Behind the running guest. */
	enum bg_step bg;
	u64 bg_at;
	u32 bg_tries;
	bool note_started, noting;
	int note_err;
	u8 note_esp[SHA256_BYTES], note_next[SHA256_BYTES];
	bool offline;
	u64 down_since_ns; /* 0: the source is up */
	u64 report_at;
	enum deploy_state reported_state;
	bool reported_up, reported_complete;
	char report[4096];
};

/* deploy.c */
void deploy_say(struct deploy *d, const char *fmt, ...) __printf_like(2, 3);
void deploy_go(struct deploy *d, enum deploy_step step);
void deploy_trouble(struct deploy *d, enum deploy_code code);
bool deploy_fail(struct deploy *d, enum deploy_step again, enum deploy_code code, const char *fmt,
		 ...) __printf_like(4, 5);
bool deploy_net_failed(struct deploy *d, int err);
void deploy_reset_store(struct deploy *d);
bool deploy_is_bad(const struct deploy *d, const struct ticket *t);

/* deploy_ticket.c */
bool deploy_step_network(struct deploy *d);
bool deploy_step_ticket(struct deploy *d);
bool deploy_step_manifest(struct deploy *d);
void deploy_identify(struct deploy *d);
int deploy_run_ticket(struct deploy *d);
enum deploy_code deploy_check_ticket(struct deploy *d, struct ticket *t, char *text, size_t room);
void deploy_believe(struct deploy *d, const struct ticket *t);
enum store_policy deploy_ticket_policy(const struct ticket *t);
enum store_frontend deploy_ticket_frontend(const struct ticket *t);
enum store_nic deploy_ticket_nic(const struct ticket *t);
int deploy_run_manifest(struct deploy *d, const u8 version[SHA256_BYTES]);
void deploy_drop_manifest(struct deploy *d);

/* deploy_slots.c */
int deploy_io_run(struct deploy *d, enum blk_op op, u64 lba, u32 sectors, void *buf);
int deploy_doc_run(struct deploy *d, const char *path, void *buf, u32 room);
int deploy_fetch_run(struct deploy *d, const u8 *digest, u32 plain_bytes, void *buf);

/* deploy_bg.c */
bool deploy_step_ready(struct deploy *d);
u64 deploy_ready_wait(const struct deploy *d, u64 now);

/* deploy_fill.c */
bool deploy_fill_fits(const struct deploy *d);
void deploy_fill_now(const struct deploy *d, u64 now, struct disk_fill *out);
u64 deploy_fill_poll(struct deploy *d, u64 now);

/* deploy_profile.c */
bool deploy_profile_due(const struct deploy *d);
int deploy_profile_run(struct deploy *d);
u64 deploy_profile_poll(struct deploy *d, u64 now);

/* deploy_claim.c */
bool deploy_step_decide(struct deploy *d);
bool deploy_step_mark(struct deploy *d);
bool deploy_step_esp(struct deploy *d);
bool deploy_step_format(struct deploy *d);
bool deploy_step_tables(struct deploy *d);
int deploy_esp_run(struct deploy *d, const u8 version[SHA256_BYTES]);

/* deploy_report.c */
extern const char *const deploy_state_names[DEPLOY_TROUBLE + 1];
u32 deploy_report_build(struct deploy *d, char *out, u32 room);
u64 deploy_report_poll(struct deploy *d, u64 now);

/* deploy_pick.c */
void deploy_pick_init(struct deploy *d);
bool deploy_pick_looked(struct deploy *d);
bool deploy_pick_skip(struct deploy *d, int err);
bool deploy_pick_by_ticket(struct deploy *d);

#endif
