// SPDX-License-Identifier: GPL-2.0
/* Capabilities that the kernel asks for on behalf of a process, granted or denied, with the system
 * call that made it ask.
 *
 * The kernel asks far more often than it needs what it asks for: a denied check of one capability is
 * often followed by one of another that will do.
 */
#include "capability.h"
#include "lineage.h"

struct event {
	struct subject who;
	LINEAGE_COLUMNS;
	capability_t capability;
	syscall_t call;
	bool granted;
	bool own;
};
enum { EVENT_TAIL = LINEAGE_TAIL };

#include "event_lineage.h"
#include "tally.h"

struct count_key {
	struct tallied who;
	tgid_t pid;
	capability_t capability;
	syscall_t call;
	u32 pad;
};
struct count_value {
	u64 count;
	u64 denied;
	comm_t comm;
};
enum { MAX_COUNTS = 10240 };

#include "counts.h"

char LICENSE[] SEC("license") = "GPL";

const volatile bool counting = false;
const volatile bool denied_only = false;
const volatile bool memory = false;
const volatile bool others = false;

WHERE(ppid);
WHERE(capability);
WHERE(call);
WHERE(granted);
WHERE(own);

static __always_inline int count(const struct match *match, u32 capability, s32 call, bool granted)
{
	struct count_key key = {
		.pid = bpf_get_current_pid_tgid() >> 32,
		.capability = capability,
		.call = call,
	};
	struct count_value *value = count_find(match, &key);

	if (!value) {
		struct count_value fresh = {};

		bpf_get_current_comm(fresh.comm, sizeof(fresh.comm));
		value = count_open(match, &key, &fresh);
		if (!value)
			return 0;
	}
	count_one(value);
	if (!granted)
		__sync_fetch_and_add(&value->denied, 1);
	return 0;
}

static __always_inline int report(struct match *match, u32 capability, s32 call, bool granted,
				  bool own)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!within(&where_ppid, task->real_parent->tgid) || !event_admit(match))
		return 0;
	struct event *event = event_begin(match);

	if (!event)
		return 0;
	event->capability = capability;
	event->call = call;
	event->granted = granted;
	event->own = own;
	event_lineage(event);
	return event_send(match);
}

static __always_inline int asked(const struct cred *cred, u32 capability, bool granted)
{
	struct match match = {};
	bool own = is_own(cred);

	if ((denied_only && granted) || (!others && !own) ||
	    !within(&where_capability, capability) || !within(&where_granted, granted) ||
	    !within(&where_own, own) || !match_current(&match))
		return 0;
	s32 call = current_call();

	if ((!memory && is_about_memory(capability, call)) || !within(&where_call, call))
		return 0;
	return counting ? count(&match, capability, call, granted)
			: report(&match, capability, call, granted, own);
}

SEC("tp_btf/cap_capable")
int BPF_PROG(capability_asked, const struct cred *cred, struct user_namespace *target,
	     const struct user_namespace *capable, int capability, int result)
{
	asked(cred, capability, !result);
	return 0;
}

/* Where there is no such tracepoint. What only looks is told apart by its call, as there. */
SEC("fexit/cap_capable")
int BPF_PROG(capability_answered, const struct cred *cred, struct user_namespace *target,
	     int capability, u32 options, int result)
{
	asked(cred, capability, !result);
	return 0;
}
