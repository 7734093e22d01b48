// SPDX-License-Identifier: GPL-2.0
/* Decides which cgroups are watched at the moment they are made, before anything can run in them; and
 * notes who comes into a container as its runtime.
 *
 * A cgroup below a container's is watched for the same jobs. Any other new one passes as
 * pending, for the jobs that it may turn out to belong to, until the agent knows whose it is; how
 * many may be pending at once is bounded, and what the bound refuses is only counted.
 * Only one hierarchy is looked at: the tracepoints fire for every hierarchy.
 */
#include "hierarchy.h"
#include "refused.h" /* a map that trackers share */
#include "runtime.h"

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

	if (parent && parent->state == target_classified && parent->inherit && parent->jobs)
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
	/* Before Linux 6.4 a map's answer is 32 bits, and no sign is put into the rest. */
	int failed = bpf_map_update_elem(&targets, &id, target, BPF_NOEXIST);

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

/* ---- who is of a container's runtime: see runtime.h ---- */

/* How long a runtime may take to begin the container's program. Who is one by mistake is none for longer. */
const volatile u64 starting_ns = 60000000000;
enum { MAX_DEPTH = 32 };

/* The outermost cgroup around it that is a container's, or may be: its id; 0: there is none. A global
 * function, see lose_for_first in match.h, and so it takes a number for a pointer. */
__weak u64 container_around(u64 address)
{
	struct cgroup *cgroup = (void *)address;
	u64 found = 0;

	for (int depth = 0; depth < MAX_DEPTH && cgroup; depth++) {
		u64 id = BPF_CORE_READ(cgroup, kn, id);
		struct target *target = bpf_map_lookup_elem(&targets, &id);

		if (target && (target->inherit || target->state != target_classified))
			found = id;
		cgroup = BPF_CORE_READ(cgroup, self.parent, cgroup);
	}
	return found;
}

static __always_inline bool are_in_one_container(const struct cgroup *one, const struct cgroup *other)
{
	u64 around = container_around((u64)BPF_CORE_READ(one, self.cgroup));

	return around && around == container_around((u64)BPF_CORE_READ(other, self.cgroup));
}

static __always_inline void mark(struct task_struct *process, boot_ns_t until)
{
	boot_ns_t *noted = bpf_task_storage_get(&runtimes, process, NULL,
						BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (noted)
		*noted = until;
}

/* Who moves itself, or is moved by one of the container's own, is no runtime's. It is asked after the move. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(joins, struct cgroup *cgroup, const char *path, struct task_struct *task)
{
	struct task_struct *mover = bpf_get_current_task_btf();

	if (!is_looked_at(cgroup))
		return 0;
	if (mover->tgid == task->tgid)
		bpf_task_storage_delete(&runtimes, task);
	else if (!are_in_one_container(task_cgroup(mover), cgroup))
		mark(task, bpf_ktime_get_boot_ns() + starting_ns);
	return 0;
}

/* A child may be born into another cgroup: clone3 with CLONE_INTO_CGROUP. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(forks, struct task_struct *parent, struct task_struct *child)
{
	if (parent->tgid == child->tgid)
		return 0;
	struct cgroup *from = task_cgroup(parent), *to = task_cgroup(child);
	boot_ns_t *until = bpf_task_storage_get(&runtimes, parent->group_leader, NULL, 0);

	if (from != to && !are_in_one_container(from, to))
		mark(child, bpf_ktime_get_boot_ns() + starting_ns);
	else if (until)
		mark(child, *until);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(execs, struct task_struct *task)
{
	if (!has_mounts_of_parent(task))
		bpf_task_storage_delete(&runtimes, task);
	return 0;
}

static __always_inline bool has_program_of_its_mounts(const struct task_struct *task)
{
	const struct vfsmount *mount = BPF_CORE_READ(task, mm, exe_file, f_path.mnt);
	const struct mount *whole = (const void *)mount - bpf_core_field_offset(struct mount, mnt);

	return BPF_CORE_READ(whole, mnt_ns) == BPF_CORE_READ(task, nsproxy, mnt_ns);
}

/* Run once, when the others are attached: who came into a container before and may not have begun its
 * program yet. Those of the container could do as they liked until now, and can for a little longer. */
SEC("iter/task")
int note_those_here(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;

	if (!task || task->pid != task->tgid || !task->mm ||
	    task_cgroup(task) == task_cgroup(task->real_parent))
		return 0;
	if (has_mounts_of_parent(task) || !has_program_of_its_mounts(task))
		mark(task, bpf_ktime_get_boot_ns() + starting_ns);
	return 0;
}
