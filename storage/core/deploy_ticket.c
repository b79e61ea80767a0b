/*
 * deploy_ticket.c - what the server says: address, ticket, manifest
 *
 * Three steps of a boot, and what deploy_bg.c does of them again behind the
 * guest. STEP_NETWORK waits for cable and address, STEP_TICKET asks /v1/boot for
 * this machine's ticket, STEP_MANIFEST fetches the manifest of its version. What
 * must hold:
 *
 *  - a ticket is believed after signature, machine and serial were checked, a
 *    manifest after digest and signature were;
 *  - an answer that is refused or does not verify is trouble, and asked for
 *    again; no answer is tried again quietly first (deploy_net_failed());
 *  - a manifest is not fetched when the store has the ticket's version, may not
 *    take it, or has met it as one that does not come up.
 */
#include "storage/core/deploy_priv.h"

#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/plat.h"

#define NETWORK_TROUBLE_NS (30 * NS_PER_SEC) /* no cable, no address: say so louder */

/** deploy_step_network() - is there a cable, and an address? */
bool deploy_step_network(struct deploy *d)
{
	struct source_status st;
	enum deploy_code code;

	if (!d->cfg.source)
		return deploy_fail(d, STEP_NETWORK, DEPLOY_NO_LINK,
				   "no network card, and the local store does not suffice");
	d->cfg.source->ops->status(d->cfg.source, &st);
	if (st.state == SOURCE_UP || (st.link_up && st.ip)) {
		deploy_go(d, STEP_TICKET);
		return true;
	}
	if (!st.link_up) {
		code = DEPLOY_NO_LINK;
		fmt_snprintf(d->text, sizeof(d->text), "no network link: is the cable plugged in?");
	} else {
		code = DEPLOY_NO_DHCP;
		fmt_snprintf(d->text, sizeof(d->text), "waiting for an address (DHCP)");
	}
	if (plat_time_ns() - d->step_since_ns >= NETWORK_TROUBLE_NS)
		deploy_trouble(d, code);
	return false;
}

/* ----------------------------------------------------------------- ticket */

/* Printable but what means something in a query. */
static void append_escaped(char *out, size_t room, const char *s)
{
	size_t n = strlen(out);

	for (; *s; s++) {
		u8 c = (u8)*s;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			     (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';

		if (n + 4 > room)
			return;
		if (plain) {
			out[n++] = (char)c;
			out[n] = 0;
		} else {
			n += (size_t)fmt_snprintf(out + n, room - n, "%%%02x", c);
		}
	}
}

static bool has_credential(const struct store_meta *m)
{
	static const u8 none[CREDENTIAL_BYTES];

	return memcmp(m->credential, none, sizeof(none));
}

/**
 * deploy_identify() - tell the source who we are to the server
 *
 * Only with what lies on the disk for good: the server asks for a credential from
 * the first time on that it has seen it. Memory keeps nothing, so it asks for none.
 */
void deploy_identify(struct deploy *d)
{
	struct source *s = d->cfg.source;
	const struct store_meta *m = d->store ? store_meta(d->store) : NULL;
	char text[CREDENTIAL_TEXT_BYTES];

	if (!s || !s->ops->credential)
		return;
	if (d->cfg.memory)
		s->ops->credential(s, NULL);
	else if (m && has_credential(m))
		s->ops->credential(s, credential_text(text, m->credential));
	else
		s->ops->credential(s, CREDENTIAL_WANTED);
}

/** deploy_run_ticket() - one attempt at /v1/boot; as deploy_doc_run() */
int deploy_run_ticket(struct deploy *d)
{
	const u8 *mac = d->cfg.mac;
	char path[256], uuid[GUID_TEXT_BYTES];

	fmt_snprintf(path, sizeof(path),
		     "/v1/boot?uuid=%s&mac=%02x:%02x:%02x:%02x:%02x:%02x&disk=",
		     guid_format(uuid, d->cfg.uuid), mac[0], mac[1], mac[2], mac[3], mac[4],
		     mac[5]);
	append_escaped(path, sizeof(path), d->cfg.blk->serial);
	if (!d->doc.started)
		deploy_identify(d);
	return deploy_doc_run(d, path, d->doc_buf, SIGTEXT_MAX);
}

static u64 stored_serial(const struct deploy *d)
{
	return d->store ? store_meta(d->store)->serial : 0;
}

/**
 * deploy_check_ticket() - everything that must hold before a ticket is believed
 * @t:    out
 * @text: out, why not
 *
 * Return: DEPLOY_OK; DEPLOY_TICKET_BAD; DEPLOY_TICKET_STALE.
 */
enum deploy_code deploy_check_ticket(struct deploy *d, struct ticket *t, char *text, size_t room)
{
	u32 n = d->doc.doc.bytes;
	char uuid[GUID_TEXT_BYTES];

	if (sigtext_verify(d->doc_buf, n, d->cfg.keys, d->cfg.nkeys)) {
		fmt_snprintf(text, room, "the boot ticket is not signed by this site's key");
		return DEPLOY_TICKET_BAD;
	}
	if (ticket_parse(d->doc_buf, n, t)) {
		fmt_snprintf(text, room, "the boot ticket is malformed");
		return DEPLOY_TICKET_BAD;
	}
	if (memcmp(t->uuid, d->cfg.uuid, GUID_BYTES)) {
		fmt_snprintf(text, room, "the boot ticket is for machine %s",
			     guid_format(uuid, t->uuid));
		return DEPLOY_TICKET_BAD;
	}
	if (t->serial < stored_serial(d)) {
		fmt_snprintf(text, room, "the boot ticket is older than the last one (%llu < %llu)",
			     (unsigned long long)t->serial, (unsigned long long)stored_serial(d));
		return DEPLOY_TICKET_STALE;
	}
	return DEPLOY_OK;
}

/* The server answered, and the answer is no. */
static bool is_refusal(int err, u32 http_status)
{
	return err == -ENOENT || (err == -EIO && http_status >= 400 && http_status < 500);
}

/** deploy_believe() - a ticket that was checked is the one that counts now */
void deploy_believe(struct deploy *d, const struct ticket *t)
{
	struct source *s = d->cfg.source;

	d->ticket = *t;
	d->have_ticket = true;
	d->ticket_ns = plat_time_ns();
	if (s->ops->signed_time)
		s->ops->signed_time(s, t->time_unix);
	if (s->ops->sources)
		s->ops->sources(s, &t->sources);
}

/** deploy_step_ticket() - ask for a ticket until there is one to believe */
bool deploy_step_ticket(struct deploy *d)
{
	char why[128];
	enum deploy_code code;
	struct ticket t;
	int err;

	if (!d->doc.started)
		deploy_say(d, "asking the server for a boot ticket");
	err = deploy_run_ticket(d);
	if (err == -EINPROGRESS)
		return false;
	if (err == -EIO && d->doc.doc.http_status == 401)
		return deploy_fail(d, STEP_TICKET, DEPLOY_CREDENTIAL,
				   "the server does not accept this machine's credential");
	if (is_refusal(err, d->doc.doc.http_status))
		return deploy_fail(d, STEP_TICKET, DEPLOY_TICKET_REFUSED,
				   "the server has no boot ticket for this machine (HTTP %u)",
				   d->doc.doc.http_status);
	if (err == -EMSGSIZE || err == -EPROTO)
		return deploy_fail(d, STEP_TICKET, DEPLOY_TICKET_BAD,
				   "the server's answer is no boot ticket (%s)", err_name(err));
	if (err)
		return deploy_net_failed(d, err);
	code = deploy_check_ticket(d, &t, why, sizeof(why));
	if (code)
		return deploy_fail(d, STEP_TICKET, code, "%s", why);
	deploy_believe(d, &t);
	log_info("deploy: ticket channel=%s serial=%llu policy=%s claim=%u esp=%u", t.channel,
		 (unsigned long long)t.serial, ticket_policy_name(t.policy),
		 t.claim, t.has_esp);
	deploy_go(d, STEP_MANIFEST);
	return true;
}

/** deploy_ticket_policy() - the store's word for it */
enum store_policy deploy_ticket_policy(const struct ticket *t)
{
	switch (t->policy) {
	case TICKET_POLICY_PUSH:
		return STORE_POLICY_PUSH;
	case TICKET_POLICY_NEVER:
		return STORE_POLICY_NEVER;
	case TICKET_POLICY_BOOT:
		break;
	}
	return STORE_POLICY_BOOT;
}

/** deploy_ticket_frontend() - the store's word for it */
enum store_frontend deploy_ticket_frontend(const struct ticket *t)
{
	switch (t->frontend) {
	case TICKET_FRONTEND_NVME:
		return STORE_FRONTEND_NVME;
	case TICKET_FRONTEND_AHCI:
		return STORE_FRONTEND_AHCI;
	case TICKET_FRONTEND_SAME:
		break;
	}
	return STORE_FRONTEND_SAME;
}

/** deploy_ticket_nic() - the store's word for it */
enum store_nic deploy_ticket_nic(const struct ticket *t)
{
	switch (t->nic) {
	case TICKET_NIC_VIRTIO:
		return STORE_NIC_VIRTIO;
	case TICKET_NIC_E1000E:
		return STORE_NIC_E1000E;
	case TICKET_NIC_NONE:
		break;
	}
	return STORE_NIC_NONE;
}

/* --------------------------------------------------------------- manifest */

/** deploy_drop_manifest() - unless an answer nobody wants is still on its way into it */
void deploy_drop_manifest(struct deploy *d)
{
	d->manifest_bytes = 0;
	if (d->doc.busy && d->doc.doc.buf == d->manifest)
		return;
	plat_free(d->manifest);
	d->manifest = NULL;
}

static bool manifest_bad(struct deploy *d, const char *why)
{
	deploy_drop_manifest(d);
	return deploy_fail(d, STEP_TICKET, DEPLOY_MANIFEST_BAD, "the image's manifest %s", why);
}

static bool take_manifest(struct deploy *d)
{
	u8 digest[SHA256_BYTES];
	u32 n = d->doc.doc.bytes;

	manifest_digest(digest, d->manifest, n);
	if (memcmp(digest, d->ticket.version, SHA256_BYTES))
		return manifest_bad(d, "is not the one that was asked for");
	if (manifest_verify(d->manifest, n, d->cfg.keys, d->cfg.nkeys))
		return manifest_bad(d, "is not signed by this site's key");
	if (manifest_parse(d->manifest, n, &d->m))
		return manifest_bad(d, "is malformed");
	d->manifest_bytes = n;
	log_info("deploy: manifest image=%s label=\"%s\" mib=%llu", d->m.name, d->m.label,
		 (unsigned long long)(d->m.image_bytes / MIB));
	deploy_go(d, STEP_DECIDE);
	return true;
}

/** deploy_run_manifest() - fetch a manifest into d->manifest; as deploy_doc_run() */
int deploy_run_manifest(struct deploy *d, const u8 version[SHA256_BYTES])
{
	char path[100], hex[2 * SHA256_BYTES + 1];

	if (!d->manifest)
		d->manifest = plat_alloc(MANIFEST_BYTES_MAX);
	if (!d->manifest)
		return -ENOMEM;
	fmt_snprintf(path, sizeof(path), "/v1/manifest/%s", fmt_hex(hex, version, SHA256_BYTES));
	return deploy_doc_run(d, path, d->manifest, MANIFEST_BYTES_MAX);
}

/** deploy_step_manifest() - of the ticket's version, unless what the store has will do */
bool deploy_step_manifest(struct deploy *d)
{
	int err;

	if (d->have_cache &&
	    (!memcmp(store_meta(d->store)->version, d->ticket.version, SHA256_BYTES) ||
	     d->ticket.policy == TICKET_POLICY_NEVER || deploy_is_bad(d, &d->ticket))) {
		d->update = false;
		d->use_cache = true;
		deploy_go(d, STEP_BIND);
		return true;
	}
	if (!d->doc.started)
		deploy_say(d, "fetching the image's manifest");
	err = deploy_run_manifest(d, d->ticket.version);
	if (err == -EINPROGRESS)
		return false;
	if (err == -ENOMEM)
		return deploy_fail(d, STEP_MANIFEST, DEPLOY_INTERNAL, "out of memory");
	if (is_refusal(err, d->doc.doc.http_status))
		return manifest_bad(d, "is not on the server");
	if (err == -EMSGSIZE || err == -EPROTO)
		return manifest_bad(d, "is too long or garbled");
	if (err)
		return deploy_net_failed(d, err);
	return take_manifest(d);
}
