// SPDX-License-Identifier: GPL-2.0
/* Decides which cgroups are watched at the moment they are made, before anything can run in them.
 *
 * A cgroup below a container's is watched for the same jobs. Any other new one passes as
 * pending, for the jobs that it may turn out to belong to, until the agent knows whose it is; how
 * many may be pending at once is bounded, and what the bound refuses is only counted.
 * Only one hierarchy is looked at: the tracepoints fire for every hierarchy.
 */
#include "hierarchy.h"

char LICENSE[] SEC("license") = "GPL";

/* Written by the agent alone. */
struct pending_limit {
	job_set_t candidates; /* jobs that a new cgroup may belong to */
	u64 classified;	      /* pending cgroups that it has seen to, ever */
	u64 bound;	      /* how many may be pending at once */
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct pending_limit);
} pending_limit SEC(".maps");

/* Written here alone. */
struct pending_count {
	u64 created; /* pending cgroups, ever */
	u64 refused; /* cgroups that the bound or the size of `targets` turned away, ever */
	u64 lost;    /* messages for which cgroup_events had no room, ever: look at the tree again */
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct pending_count);
} pending_count SEC(".maps");

enum cgroup_kind {
	cgroup_mkdir = 1,
	cgroup_rmdir = 2,
};
struct cgroup_event {
	boot_ns_t time;
	cgroup_id_t cgroup_id;
	cgroup_id_t parent_id;
	enum cgroup_kind kind;
	path_t path; /* below the root of the hierarchy */
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct cgroup_event);
} cgroup_events SEC(".maps");

struct scratch {
	u64 busy;
	struct cgroup_event event;
	u8 path[PATH_MAX];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

static __always_inline bool is_looked_at(const struct cgroup *cgroup)
{
	return cgroup->root->hierarchy_id == cgroup_hierarchy;
}

static __always_inline u64 parent_of(const struct cgroup *cgroup)
{
	const struct cgroup_subsys_state *parent = cgroup->self.parent;

	return parent ? parent->cgroup->kn->id : 0;
}

/* Takes a place among the pending ones; false: none is free. */
static __always_inline bool take_place(const struct pending_limit *limit,
				       struct pending_count *count)
{
	u64 before = __sync_fetch_and_add(&count->created, 1);

	if (before - limit->classified < limit->bound)
		return true;
	__sync_fetch_and_add(&count->created, -1);
	return false;
}

static __always_inline struct target decide(u64 parent_id, const struct pending_limit *limit,
					    struct pending_count *count)
{
	struct target *parent = bpf_map_lookup_elem(&targets, &parent_id);

	if (parent && parent->state == target_classified && parent->inherit)
		return (struct target){.jobs = parent->jobs, .inherit = 1};
	if (!limit->candidates)
		return (struct target){};
	if (take_place(limit, count))
		return (struct target){.jobs = limit->candidates, .state = target_pending};
	__sync_fetch_and_add(&count->refused, 1);
	return (struct target){.jobs = limit->candidates, .state = target_refused};
}

/* include/uapi/asm-generic/errno-base.h */
enum { EEXIST = 17 };

/* The agent, which looks through the tree, may have seen the cgroup and entered it already. */
static __always_inline void enter(u64 id, struct target *target, struct pending_count *count)
{
	if (!target->jobs)
		return;
	long failed = bpf_map_update_elem(&targets, &id, target, BPF_NOEXIST);

	if (!failed)
		return;
	if (target->state == target_pending)
		__sync_fetch_and_add(&count->created, -1);
	if (failed != -EEXIST && target->state != target_refused)
		__sync_fetch_and_add(&count->refused, 1);
	target->state = target_refused;
}

static __always_inline void report(const struct cgroup *cgroup, const char *path,
				   enum cgroup_kind kind, struct pending_count *count)
{
	u32 zero = 0;
	struct scratch *slot = bpf_map_lookup_elem(&scratch, &zero);

	if (!slot)
		return;
	if (__sync_lock_test_and_set(&slot->busy, 1)) {
		__sync_fetch_and_add(&count->lost, 1);
		return;
	}
	u64 length = bpf_probe_read_kernel_str(slot->path, PATH_MAX, path);

	length = length - 1 < PATH_MAX ? length - 1 : 0;
	slot->event.time = bpf_ktime_get_boot_ns();
	slot->event.cgroup_id = cgroup->kn->id;
	slot->event.parent_id = parent_of(cgroup);
	slot->event.kind = kind;
	slot->event.path = length ? length << 16 | sizeof(slot->event) : 0;
	if (bpf_ringbuf_output(&cgroup_events, &slot->event, sizeof(slot->event) + length,
			       BPF_RB_FORCE_WAKEUP))
		__sync_fetch_and_add(&count->lost, 1);
	slot->busy = 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(made, struct cgroup *cgroup, const char *path)
{
	u32 zero = 0;
	struct pending_limit *limit = bpf_map_lookup_elem(&pending_limit, &zero);
	struct pending_count *count = bpf_map_lookup_elem(&pending_count, &zero);

	if (!limit || !count || !is_looked_at(cgroup))
		return 0;
	struct target target = decide(parent_of(cgroup), limit, count);

	enter(cgroup->kn->id, &target, count);
	report(cgroup, path, cgroup_mkdir, count);
	return 0;
}

/* The agent removes the target later, when it has read all that came before this. */
SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(removed, struct cgroup *cgroup, const char *path)
{
	u32 zero = 0;
	struct pending_count *count = bpf_map_lookup_elem(&pending_count, &zero);

	if (count && is_looked_at(cgroup))
		report(cgroup, path, cgroup_rmdir, count);
	return 0;
}
