/*
 * ticket.h - signed text: the boot ticket of a machine, the pointer of a channel
 *
 * First line "freshet-ticket 1" or "freshet-channel 1", then "key value" lines,
 * each key at most once, keys that we do not know ignored; the last line is
 * "sig <128 hex digits>" over every byte before it. Printable ASCII and
 * newlines only, 4096 bytes at most. docs/formats/ticket.md.
 *
 * The first line is under the signature, so one kind never passes for the
 * other. Parsing does not look at the signature; sigtext_verify() does, and
 * both are wanted before a text is believed.
 */
#ifndef STORAGE_FORMAT_TICKET_H
#define STORAGE_FORMAT_TICKET_H

#include "base/crypto.h"
#include "base/types.h"
#include "storage/format/guid.h"
#include "storage/format/sources.h"

#define SIGTEXT_MAX 4096
#define SIGTEXT_KEYS_MAX 48
#define CHANNEL_NAME_MAX 63
#define TICKET_DISK_SERIAL_MAX 40
#define TICKET_DAY_MINUTES 1440u
#define CREDENTIAL_BYTES 32
/* What a machine says of itself, over TLS: "Authorization: Bearer ..." */
#define CREDENTIAL_PREFIX "frm_" /* and the credential in hex */
#define CREDENTIAL_WANTED "frm_new" /* it has none yet, and a place to keep one */
#define CREDENTIAL_TEXT_BYTES (4 + 2 * CREDENTIAL_BYTES + 1)

enum ticket_policy {
	TICKET_POLICY_BOOT, /* guest writes vanish at reboot */
	TICKET_POLICY_PUSH, /* kept until a new version arrives */
	TICKET_POLICY_NEVER, /* kept, and the version stays what it is */
};

enum ticket_claim {
	TICKET_CLAIM_NONE,
	TICKET_CLAIM_BLANK, /* a disk that is blank may be taken */
	TICKET_CLAIM_SERIAL, /* the disk with this serial number may be taken, whatever is on it */
};

enum ticket_frontend {
	TICKET_FRONTEND_SAME, /* as the real controller; where there is none, NVMe */
	TICKET_FRONTEND_NVME,
	TICKET_FRONTEND_AHCI,
};

enum ticket_nic {
	TICKET_NIC_NONE,
	TICKET_NIC_VIRTIO,
	TICKET_NIC_E1000E,
};

struct ticket {
	u8 uuid[GUID_BYTES]; /* the machine it was made for */
	char channel[CHANNEL_NAME_MAX + 1];
	u64 serial; /* of the channel; never goes back */
	u8 version[SHA256_BYTES];
	enum ticket_policy policy;
	bool has_esp;
	u8 esp[SHA256_BYTES]; /* manifest of the ESP's image */
	enum ticket_claim claim;
	char claim_serial[TICKET_DISK_SERIAL_MAX + 1];
	bool fill;
	u32 fill_limit_kib; /* KiB/s; 0: none */
	u16 fill_from, fill_to; /* minutes of the UTC day when fill may run; equal: always */
	bool metered; /* fetch nothing that the guest does not wait for */
	enum ticket_frontend frontend; /* the controller that the guest sees */
	enum ticket_nic nic; /* the network card that it sees */
	struct sources sources; /* where chunk objects lie besides */
	u64 time_unix;
	bool has_credential;
	u8 credential[CREDENTIAL_BYTES]; /* to be said from now on */
};

struct channel {
	char name[CHANNEL_NAME_MAX + 1];
	u64 serial;
	u8 version[SHA256_BYTES];
};

/**
 * ticket_parse() - text to struct, strictly
 *
 * Required: uuid, channel, serial, version, policy. Others default to
 * esp none, claim none, fill on, fill_limit 0, no fill_window,
 * metered off, frontend same, nic none, sources none, time 0.
 * Return: 0; -EINVAL; -EMSGSIZE beyond SIGTEXT_MAX.
 */
int ticket_parse(const void *bytes, size_t n, struct ticket *out);
/** credential_text() - as a machine says it */
char *credential_text(char out[CREDENTIAL_TEXT_BYTES], const u8 credential[CREDENTIAL_BYTES]);

/** channel_parse() - the same for a channel: name, serial, version; time ignored */
int channel_parse(const void *bytes, size_t n, struct channel *out);

const char *ticket_policy_name(enum ticket_policy policy);
const char *ticket_frontend_name(enum ticket_frontend frontend);
/** ticket_frontend_parse() - 0 or -EINVAL */
int ticket_frontend_parse(const char *s, size_t n, enum ticket_frontend *out);
const char *ticket_nic_name(enum ticket_nic nic);
/** ticket_nic_parse() - 0 or -EINVAL */
int ticket_nic_parse(const char *s, size_t n, enum ticket_nic *out);

/** ticket_build() - the text up to where "sig" goes; *n out; 0, -EINVAL, -ENOSPC */
int ticket_build(const struct ticket *t, char *out, size_t room, size_t *n);
int channel_build(const struct channel *c, char *out, size_t room, size_t *n);

/** sigtext_digest() - what is signed of a text of @n bytes without its sig line */
void sigtext_digest(u8 out[SHA256_BYTES], const void *bytes, size_t n);
/** sigtext_append_sig() - add the last line; *n in and out; 0 or -ENOSPC */
int sigtext_append_sig(char *out, size_t room, size_t *n, const u8 sig[P256_SIG_BYTES]);
/**
 * sigtext_verify() - was this ticket or channel signed by one of @keys?
 *
 * Return: 0; -EKEYREJECTED; -EINVAL when there is no well-formed sig line at the end.
 */
int sigtext_verify(const void *bytes, size_t n, const u8 keys[][P256_PUB_BYTES], u32 nkeys);

/** channel_name_ok() - parts of [a-z0-9._-], separated by '/', none empty or starting with '.' */
bool channel_name_ok(const char *s, size_t n);

#endif
