/*
 * api_machines.c - machines, groups, rules
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "server/api/api.h"

static int list(struct api_call *c)
{
	char match[64];
	int err = api_param(c, "match", match, sizeof(match));

	return err ? err : api_json(c, fleet_machines(c->f, *match ? match : NULL));
}

static int show(struct api_call *c)
{
	long long id;
	json_t *m;
	int err = api_id(c, 0, &id);

	if (err)
		return err;
	m = fleet_machine(c->f, id);
	return m ? api_json(c, m) : -ENOENT;
}

static void note_change(struct api_call *c, const json_t *change)
{
	char *text = json_dumps(change, JSON_COMPACT);

	if (text)
		snprintf(c->detail, sizeof(c->detail), "%s", text);
	free(text);
}

static int change_to(struct api_call *c, const json_t *change)
{
	const char *why = "";
	long long id;
	int err = api_id(c, 0, &id);

	if (!err)
		err = fleet_machine_change(c->f, id, change, &why);
	if (err == -EEXIST)
		return api_fail(c, 409, "another machine has that name");
	if (err == -EINVAL)
		return api_fail(c, 422, "%s: not a setting, or a bad value", why);
	if (err)
		return err;
	note_change(c, change);
	return api_json(c, fleet_machine(c->f, id));
}

static int change(struct api_call *c)
{
	return change_to(c, c->body);
}

static int set_one(struct api_call *c, const char *key, json_t *value)
{
	json_t *o = json_object();
	int err;

	json_object_set_new(o, key, value);
	err = change_to(c, o);
	json_decref(o);
	return err;
}

static int approve(struct api_call *c)
{
	return set_one(c, "approved", json_true());
}

static int reset(struct api_call *c)
{
	return set_one(c, "reset_once", json_true());
}

static int update(struct api_call *c)
{
	return set_one(c, "pinned", json_null());
}

static int forget(struct api_call *c)
{
	long long id;
	int err = api_id(c, 0, &id);

	if (!err)
		err = fleet_machine_forget(c->f, id);
	if (!err)
		c->r->status = 204;
	return err;
}

/* ---------------------------------------------------------------- Wake-on-LAN */

static int parse_target(const char *text, struct sockaddr_in *sa)
{
	const char *colon = strrchr(text, ':');
	char host[64];

	memset(sa, 0, sizeof(*sa));
	sa->sin_family = AF_INET;
	fmt_snprintf(host, sizeof(host), "%.*s", (int)(colon ? colon - text : 0), text);
	if (!colon || inet_pton(AF_INET, host, &sa->sin_addr) != 1)
		return -EINVAL;
	sa->sin_port = htons((u16)atoi(colon + 1));
	return 0;
}

/* Six times ff, then sixteen times the address. */
static int send_magic(const char *target, const char *mac_text)
{
	u8 packet[102], mac[6];
	struct sockaddr_in sa;
	int fd, one = 1, err;

	for (int i = 0; i < 6; i++)
		if (strlen(mac_text) != 17 || fmt_unhex(mac + i, 1, mac_text + 3 * i, 2))
			return -EINVAL;
	memset(packet, 0xff, 6);
	for (int i = 1; i < 17; i++)
		memcpy(packet + 6 * i, mac, 6);
	err = parse_target(target, &sa);
	if (err)
		return err;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one));
	err = sendto(fd, packet, sizeof(packet), 0, (struct sockaddr *)&sa, sizeof(sa)) ==
		      (ssize_t)sizeof(packet) ? 0 : -errno;
	close(fd);
	return err;
}

static int wake(struct api_call *c)
{
	long long id;
	json_t *m = NULL;
	const char *mac;
	int err = api_id(c, 0, &id);

	if (!err) {
		m = fleet_machine(c->f, id);
		err = m ? 0 : -ENOENT;
	}
	if (err)
		return err;
	mac = json_string_value(json_object_get(m, "mac"));
	err = send_magic(c->s->conf.wake_address, mac);
	if (err == -EINVAL)
		err = api_fail(c, 409, "its MAC address is not known yet");
	else if (err)
		err = api_fail(c, 500, "cannot send to %s: %s", c->s->conf.wake_address,
			       strerror(-err));
	else
		c->r->status = 204;
	json_decref(m);
	return err;
}

/* ---------------------------------------------------------------- groups, rules */

static int groups(struct api_call *c)
{
	return api_json(c, fleet_groups(c->f));
}

static int group_put(struct api_call *c)
{
	const char *why = "";
	int err = fleet_group_put(c->f, c->param[0], c->body, &why);

	if (err == -EINVAL)
		return api_fail(c, 422, "%s: not a setting, or a bad value", why);
	if (err)
		return err;
	note_change(c, c->body);
	return api_json(c, fleet_groups(c->f));
}

static int group_delete(struct api_call *c)
{
	int err = fleet_group_delete(c->f, c->param[0]);

	if (err == -EPERM)
		return api_fail(c, 409, "the default group stays");
	if (!err)
		c->r->status = 204;
	return err;
}

static int rules(struct api_call *c)
{
	return api_json(c, fleet_rules(c->f));
}

static int rule_add(struct api_call *c)
{
	const char *why = "";
	int err = fleet_rule_add(c->f, c->body, &why);

	if (err == -EINVAL)
		return api_fail(c, 422, "%s: bad or missing", why);
	if (err)
		return err;
	note_change(c, c->body);
	c->r->status = 201;
	return api_json(c, fleet_rules(c->f));
}

static int rule_delete(struct api_call *c)
{
	long long id;
	int err = api_id(c, 0, &id);

	if (!err)
		err = fleet_rule_delete(c->f, id);
	if (!err)
		c->r->status = 204;
	return err;
}

#define SMALL (64 * 1024)

const struct api_route api_machine_routes[] = {
	{ METHOD_GET, "/api/v1/machines", ROLE_READER, NULL, 0, false, list },
	{ METHOD_GET, "/api/v1/machines/{id}", ROLE_READER, NULL, 0, false, show },
	{ METHOD_PATCH, "/api/v1/machines/{id}", ROLE_OPERATOR, "machine.change", SMALL, false,
	  change },
	{ METHOD_DELETE, "/api/v1/machines/{id}", ROLE_OPERATOR, "machine.forget", 0, false,
	  forget },
	{ METHOD_POST, "/api/v1/machines/{id}/approve", ROLE_OPERATOR, "machine.approve", SMALL,
	  false, approve },
	{ METHOD_POST, "/api/v1/machines/{id}/reset", ROLE_OPERATOR, "machine.reset", SMALL, false,
	  reset },
	{ METHOD_POST, "/api/v1/machines/{id}/update", ROLE_OPERATOR, "machine.update", SMALL,
	  false, update },
	{ METHOD_POST, "/api/v1/machines/{id}/wake", ROLE_OPERATOR, "machine.wake", SMALL, false,
	  wake },
	{ METHOD_GET, "/api/v1/groups", ROLE_READER, NULL, 0, false, groups },
	{ METHOD_PUT, "/api/v1/groups/{name}", ROLE_OPERATOR, "group.change", SMALL, false,
	  group_put },
	{ METHOD_DELETE, "/api/v1/groups/{name}", ROLE_OPERATOR, "group.delete", 0, false,
	  group_delete },
	{ METHOD_GET, "/api/v1/rules", ROLE_READER, NULL, 0, false, rules },
	{ METHOD_POST, "/api/v1/rules", ROLE_OPERATOR, "rule.add", SMALL, false, rule_add },
	{ METHOD_DELETE, "/api/v1/rules/{id}", ROLE_OPERATOR, "rule.delete", 0, false,
	  rule_delete },
	{ 0 },
};
