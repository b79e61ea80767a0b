/*
 * ticket.c - a machine's boot ticket, made when it asks
 *
 * Query parameters are checked to the letter and used for three things only:
 * to find the machine (its row, its lines in site.conf), to be recorded, and, the
 * UUID, to be said back under the signature. From where settings come, the later
 * the stronger: built in, site.conf, group, machine, the machine's part of site.conf.
 * The channel's file is read and verified for each ticket, so a channel that was
 * moved takes effect at once and a file that was tampered with never does.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "server/data/channels.h"
#include "server/data/siteconf.h"
#include "server/site.h"
#include "storage/format/ticket.h"

#define CHANNEL_DEFAULT "lab/stable"

struct machine {
	char uuid[40], mac[20], disk[TICKET_DISK_SERIAL_MAX + 1];
};

static void lower(char *p)
{
	for (; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p |= 0x20;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* Six pairs of hex digits; a hyphen is as good as a colon. */
static bool mac_ok(char *mac)
{
	if (strlen(mac) != 17)
		return false;
	for (int i = 0; i < 17; i++) {
		if (i % 3 == 2) {
			if (mac[i] == '-')
				mac[i] = ':';
			if (mac[i] != ':')
				return false;
		} else if (!is_hex(mac[i])) {
			return false;
		}
	}
	return true;
}

static int optional(const struct request *h, const char *key, char *out, size_t room)
{
	int err = request_param(h, key, out, room);

	if (err == -ENOENT)
		out[0] = 0;
	return err == -ENOENT ? 0 : err;
}

static int parse_machine(const struct request *h, struct machine *m)
{
	int err = request_param(h, "uuid", m->uuid, sizeof(m->uuid));

	if (!err)
		err = optional(h, "mac", m->mac, sizeof(m->mac));
	if (!err)
		err = optional(h, "disk", m->disk, sizeof(m->disk));
	if (err)
		return -EINVAL;
	lower(m->uuid);
	lower(m->mac);
	if (!uuid_ok(m->uuid) || (m->mac[0] && !mac_ok(m->mac)))
		return -EINVAL;
	return 0;
}

/* @own: only the lines of this machine, else only those for everybody. */
static int apply_conf(const struct site *s, const char *uuid, bool own, struct ticket *t)
{
	size_t bytes;
	u8 *text;
	int err = datadir_read(&s->dir, SITECONF_PATH, SITECONF_MAX, &text, &bytes), line = 0;

	if (err == -ENOENT)
		return 0;
	if (!err) {
		err = own ? siteconf_apply_own((char *)text, uuid, t, &line) :
			    siteconf_apply((char *)text, NULL, t, &line);
		free(text);
	}
	if (err)
		log_limited(LOG_ERR, "ticket: %s is bad line=%d err=%s", SITECONF_PATH, line,
			    err_name(err));
	return err;
}

/* The ESP's image, as `freshet boot build` noted it. */
static void find_esp(const struct site *s, struct ticket *t)
{
	size_t bytes;
	u8 *text;

	if (datadir_read(&s->dir, "netboot/esp", DIGEST_HEX + 1, &text, &bytes))
		return;
	t->has_esp = bytes >= DIGEST_HEX &&
		     !fmt_unhex(t->esp, SHA256_BYTES, (char *)text, DIGEST_HEX);
	free(text);
}

/* @id: the machine's row; 0: there is no database. */
static int fill_ticket(struct site *s, const struct machine *m, long long id, bool stale,
		       struct ticket *t, const char **why)
{
	struct channel ch;
	int err;

	*t = (struct ticket){
		.channel = CHANNEL_DEFAULT,
		.policy = TICKET_POLICY_BOOT,
		.claim = TICKET_CLAIM_BLANK,
		.fill = true,
	};
	t->time_unix = (u64)time(NULL);
	err = guid_parse(t->uuid, m->uuid, strlen(m->uuid));
	if (!err)
		err = apply_conf(s, m->uuid, false, t);
	if (!err && id)
		err = fleet_ticket(s->fleet, id, t, why);
	if (!err)
		err = apply_conf(s, m->uuid, true, t);
	if (err)
		return err;
	err = channel_read(&s->dir, t->channel, s->pub, &ch);
	if (err) {
		log_limited(LOG_ERR, "ticket: no usable channel name=%s err=%s", t->channel,
			    err_name(err));
		return err;
	}
	t->serial = ch.serial;
	memcpy(t->version, ch.version, SHA256_BYTES);
	find_esp(s, t);
	if (id) {
		fleet_channel_seen(s->fleet, &ch, "", "");
		err = fleet_ticket_made(s->fleet, id, t);
	}
	t->serial -= stale && t->serial;
	return err;
}

static int refuse(struct reply *r, int status, const char *why)
{
	reply_error(r, status);
	reply_fini(r);
	return reply_text(r, "text/plain", why);
}

static int sign_ticket(struct site *s, const struct ticket *t, struct reply *r)
{
	u8 digest[SHA256_BYTES], sig[P256_SIG_BYTES];
	char text[SIGTEXT_MAX + 1];
	size_t bytes = 0;
	int err = ticket_build(t, text, SIGTEXT_MAX, &bytes);

	if (err)
		return err;
	sigtext_digest(digest, text, bytes);
	err = key_sign(s->key, digest, sig);
	if (!err)
		err = sigtext_append_sig(text, SIGTEXT_MAX, &bytes, sig);
	if (err)
		return err;
	text[bytes] = 0;
	return reply_text(r, "text/plain", text);
}

/**
 * site_ticket() - answer GET /v1/boot
 * @stale: for tests: the serial number before the channel's
 *
 * Return: 0; -EINVAL for bad parameters; -ENOENT when the channel is not there;
 * -EBUSY when the database is needed and cannot be had; others when the server
 * itself is at fault. A machine that waits for approval is answered with 403, one
 * that should have a credential and shows another with 401.
 */
int site_ticket(struct site *s, const struct site_request *q, bool stale, struct reply *r)
{
	const char *why = "", *bearer = q->tls ? q->head->bearer : "";
	enum fleet_credential proof = CREDENTIAL_FINE;
	long long id = 0;
	struct machine m;
	struct ticket t;
	int err = parse_machine(q->head, &m);

	if (err)
		return -EINVAL;
	if (s->fleet) {
		const struct fleet_boot b = { m.uuid, m.mac, m.disk, q->address };

		id = fleet_seen(s->fleet, &b);
	}
	/* Without a row nobody has approved it; where all are, a boot does not fail for that. */
	if (id <= 0 && !s->conf.open_enrolment)
		return -EBUSY;
	if (id > 0)
		proof = fleet_credential_check(s->fleet, id, bearer);
	if (proof == CREDENTIAL_REFUSED) {
		log_limited(LOG_WARN, "ticket: wrong credential uuid=%s address=%s tls=%d", m.uuid,
			    q->address, q->tls);
		return refuse(r, 401, "this machine has another credential\n");
	}
	err = fill_ticket(s, &m, MAX(id, 0ll), stale, &t, &why);
	if (err == -EPERM) {
		log_limited(LOG_INFO, "ticket: not approved uuid=%s address=%s", m.uuid,
			    q->address);
		return refuse(r, 403, why);
	}
	if (!err && proof == CREDENTIAL_ISSUE) {
		err = fleet_credential_issue(s->fleet, id, t.credential);
		t.has_credential = !err;
	}
	if (!err)
		err = sign_ticket(s, &t, r);
	s->counts.tickets += !err;
	if (!err)
		log_info("ticket: made uuid=%s address=%s channel=%s serial=%llu", m.uuid,
			 q->address, t.channel, (unsigned long long)t.serial);
	return err == -EINVAL ? -EIO : err;
}
