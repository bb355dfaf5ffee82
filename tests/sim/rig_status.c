/* SPDX-License-Identifier: MIT */
#include "tests/sim/rig_status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/test.h"

#define OUT_MAX (1u << 20)

cJSON *rig_status(struct rig *rig)
{
	char *out = malloc(OUT_MAX);
	cJSON *reply;

	CHECK(out);
	if (rig_launcher(rig, out, OUT_MAX, "--status", "--json", NULL) != 0)
		TEST_FAIL("%s", out);
	reply = cJSON_Parse(out);
	if (!reply)
		TEST_FAIL("no JSON: %s", out);
	free(out);
	return reply;
}

const cJSON *rig_status_device(const cJSON *reply, const char *name)
{
	const cJSON *device;

	cJSON_ArrayForEach(device, cJSON_GetObjectItem(reply, "devices"))
	{
		if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(device, "name")), name) == 0)
			return device;
	}
	TEST_FAIL("no device %s in the status", name);
}

long long rig_status_number(struct rig *rig, const char *name, const char *key)
{
	cJSON *reply = rig_status(rig);
	const cJSON *item = cJSON_GetObjectItem(rig_status_device(reply, name), key);
	long long number;

	if (!cJSON_IsNumber(item))
		TEST_FAIL("%s is no number", key);
	number = (long long)item->valuedouble;
	cJSON_Delete(reply);
	return number;
}

const char *rig_status_text(struct rig *rig, const char *name, const char *key)
{
	static char text[1024];
	cJSON *reply = rig_status(rig);
	const char *value = cJSON_GetStringValue(cJSON_GetObjectItem(rig_status_device(reply, name), key));

	snprintf(text, sizeof(text), "%s", value ? value : "");
	cJSON_Delete(reply);
	return text;
}

struct state_wait {
	struct rig *rig;
	const char *name;
	const char *state;
};

static int state_is(void *arg)
{
	struct state_wait *wait = arg;

	return strcmp(rig_status_text(wait->rig, wait->name, "state"), wait->state) == 0;
}

void rig_await_state(struct rig *rig, const char *name, const char *state)
{
	struct state_wait wait = {rig, name, state};

	if (!test_wait(state_is, &wait, 20000))
		TEST_FAIL("%s is %s, not %s", name, rig_status_text(rig, name, "state"), state);
}
