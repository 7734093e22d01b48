// SPDX-License-Identifier: GPL-2.0
/* Containers: when they start, stop and run out of memory, and what they use in each interval.
 *
 * A container is a cgroup of the v2 hierarchy that is watched, with all cgroups below it that were
 * made while it was watched. It starts with the first program that is executed in it while no other
 * process is there, and stops when its last process has left.
 *
 * What it uses is read at the end of each interval, by a walk over the cgroups, from counters that
 * the kernel keeps anyway; what one used that is gone by then is read when its last process leaves.
 * Only block I/O is counted as it happens, since cgroup v1 does not keep it.
 */
#include "tally.h"

enum kind {
	kind_start = 1,
	kind_stop = 2,
	kind_oom = 3,
};

struct event {
	struct subject who;
	enum kind kind;
	exit_code_t exit_code;
	signal_t signal;
	path_t filename;
	duration_t duration;
	bytes_t memory;
	bytes_t memory_limit;
};
enum { EVENT_TAIL = PATH_MAX };

struct count_key {
	struct tallied who;
};
struct count_value {
	u64 count;
	duration_t cpu_user;
	duration_t cpu_system;
	u64 periods;
	u64 throttled_periods;
	duration_t throttled_time;
	bytes_t memory;
	bytes_t memory_limit;
	u64 reads;
	u64 writes;
	bytes_t read_bytes;
	bytes_t write_bytes;
	bytes_t rx_bytes;
	bytes_t tx_bytes;
	u64 processes;
	u64 threads;
};
enum { MAX_COUNTS = 2048 };

#include "events.h"

#include "counts.h"
#include "percpu.h"

char LICENSE[] SEC("license") = "GPL";

const volatile bool lifecycle = true;
const volatile bool usage = true;

/* What is known of a watched cgroup: where its counters stood when they were last read, and, for a
 * container's own one, its first program. Room for all is made at the start: see `targets`. */
enum { MAX_CONTAINERS = 4096, MAX_DEPTH = 8, MAX_SETS = 64, MAX_THREADS = 1 << 16 };
#define NOT_READ (~0ull)
struct container {
	u64 cpu, user, system;
	u64 periods, throttled_periods, throttled_time; /* periods: NOT_READ at first */
	struct net *net;
	u64 net_cookie, received, sent;
	struct owner first; /* program of the container; no pid: not known */
	u32 walk;	 /* the last one that saw the cgroup as a target */
	u32 status;	 /* of the first program, once it has ended, as wait(2) gives it */
	u32 awaits_start; /* 1: tasks have come, but no program was executed yet */
	u32 lived;	  /* 1: a program was executed or a task has ended in it */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CONTAINERS);
	__type(key, cgroup_id_t);
	__type(value, struct container);
} containers SEC(".maps");

/* How many walks have come to their end. */
static u32 walks;

/* ---- cgroups ---- */

static __always_inline bool is_watched(const struct cgroup *cgroup)
{
	return BPF_CORE_READ(cgroup, root, hierarchy_id) == cgroup_hierarchy;
}

/* A pointer that the verifier knows as nothing but a number: see lose_for_job in match.h for why
 * functions are global, and these take numbers. */
static __always_inline struct cgroup *plain(const struct cgroup *cgroup)
{
	return BPF_CORE_READ(cgroup, self.cgroup);
}

static __always_inline cgroup_id_t id_of(const struct cgroup *cgroup)
{
	return BPF_CORE_READ(cgroup, kn, id);
}

/* The outermost cgroup of the container: those below were entered into `targets` as its heirs. */
__weak u64 outermost(u64 address)
{
	struct cgroup *cgroup = (void *)address;

	for (int depth = 0; depth < MAX_DEPTH; depth++) {
		struct cgroup_subsys_state *parent = BPF_CORE_READ(cgroup, self.parent);

		if (!parent)
			break;
		struct cgroup *above = BPF_CORE_READ(parent, cgroup);
		cgroup_id_t id = id_of(above);
		struct target *target = bpf_map_lookup_elem(&targets, &id);

		if (!target || !target->inherit || target->state != target_classified)
			break;
		cgroup = above;
	}
	return (u64)cgroup;
}

static __always_inline struct cgroup *outermost_of(struct cgroup *cgroup)
{
	return (struct cgroup *)outermost((u64)cgroup);
}

static __always_inline struct cgroup_subsys_state *
state_at(struct cgroup_subsys_state *const *states, u32 controller)
{
	struct cgroup_subsys_state *found = NULL;

	bpf_probe_read_kernel(&found, sizeof(found), states + controller);
	return found;
}

static __always_inline struct cgroup *cgroup_of(const struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);

	if (!cgroup_hierarchy)
		return BPF_CORE_READ(set, dfl_cgrp);
	u32 pids = bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id);

	return BPF_CORE_READ(state_at(set->subsys, pids), cgroup);
}

/* A controller's state for a container: its own in the v2 hierarchy; or, where that controller is
 * in a v1 hierarchy, what the container's tasks belong to there. NULL where the container has none
 * of its own. */
static __always_inline struct cgroup_subsys_state *
controller_of(const struct cgroup *container, const struct css_set *set, u32 controller)
{
	struct cgroup_subsys_state *found = state_at(container->subsys, controller);

	if (found || !set)
		return found;
	found = state_at(set->subsys, controller);
	if (!found || !BPF_CORE_READ(found, cgroup, root, hierarchy_id) ||
	    !BPF_CORE_READ(found, parent))
		return NULL;
	return found;
}

/* ---- rows ---- */

/* The root cgroup, in which the host's own processes may be, is no container. */
static __always_inline bool match_container(struct match *match, const struct cgroup *outer)
{
	return BPF_CORE_READ(outer, level) && match_cgroup(match, id_of(outer));
}

/* The container's row of this interval. Whoever opens it counts it. */
static __noinline struct count_value *row_of(struct match *match)
{
	struct count_key key = {};

	if (asks_for_processes())
		return NULL;
	struct count_value *row = count_find(match, &key);

	if (!row) {
		struct count_value fresh = {};

		row = count_open(match, &key, &fresh);
	}
	if (row && !row->count)
		__sync_val_compare_and_swap(&row->count, 0, 1);
	return row;
}

/* Moves a counter's last known value forward; returns by how much. What another CPU has seen to
 * meanwhile is not counted twice. */
__weak u64 advance(u64 *last, u64 now)
{
	if (!last)
		return 0;
	for (int attempt = 0; attempt < 3; attempt++) {
		u64 before = *last;

		if (now <= before)
			return 0;
		if (__sync_val_compare_and_swap(last, before, now) == before)
			return now - before;
	}
	return 0;
}

/* ---- CPU time ---- */

/* kernel/cgroup/rstat.c counts the time of each cgroup's own tasks, per CPU and without a break, at
 * the beginning of a struct whose name is another one on newer kernels. It is not named here: types
 * that the kernel lacks are looked for in its modules, for which the agent has no right. */
struct cpu_time {
	const void *counters;
	u64 total, user, system;
};

static long add_cpu_time(u32 cpu, struct cpu_time *sum)
{
	struct task_cputime time = {};
	struct cgroup_base_stat *here = per_cpu(sum->counters, cpu);

	if (!here)
		return 1;
	bpf_core_read(&time, sizeof(time), &here->cputime);
	sum->total += time.sum_exec_runtime;
	sum->user += time.utime;
	sum->system += time.stime;
	return 0;
}

__weak int read_cpu_time(u64 address, struct cpu_time *time)
{
	const struct cgroup *cgroup = (void *)address;
	struct cpu_time sum = {};

	if (bpf_core_field_exists(cgroup->rstat_base_cpu))
		sum.counters = BPF_CORE_READ(cgroup, rstat_base_cpu);
	else
		sum.counters = BPF_CORE_READ(cgroup, rstat_cpu);
	bpf_loop(MAX_CPUS, add_cpu_time, &sum, 0);
	if (time)
		*time = sum;
	return 0;
}

/* `user` and `system` are samples by the clock's tick on most kernels: they tell in what proportion
 * the time, which is exact, is to be split. kernel/sched/cputime.c, cputime_adjust. */
static __always_inline u64 user_part(u64 total, u64 user, u64 system)
{
	if (!system)
		return total;
	u64 share = (user << 16) / (user + system);

	return (total >> 16) * share + ((total & 0xffff) * share >> 16);
}

/* ---- network ---- */

/* Bytes of IP packets in a network namespace: include/net/snmp.h, include/uapi/linux/snmp.h. The
 * place of those sent is another one on newer kernels. */
enum { INOCTETS = 2, OUTOCTETS_BEFORE = 6, OUTOCTETS = 10 };
struct octets {
	const struct ipstats_mib *v4, *v6;
	u64 received, sent, sent_before;
};

static __always_inline u64 mib_at(const struct ipstats_mib *mib, u32 place)
{
	u64 value = 0;

	bpf_core_read(&value, sizeof(value), &mib->mibs[place]);
	return value;
}

static long add_octets(u32 cpu, struct octets *sum)
{
	const struct ipstats_mib *v4 = per_cpu(sum->v4, cpu), *v6 = per_cpu(sum->v6, cpu);

	if (!v4)
		return 1;
	sum->received += mib_at(v4, INOCTETS) + mib_at(v6, INOCTETS);
	sum->sent += mib_at(v4, OUTOCTETS) + mib_at(v6, OUTOCTETS);
	sum->sent_before += mib_at(v4, OUTOCTETS_BEFORE) + mib_at(v6, OUTOCTETS_BEFORE);
	return 0;
}

__weak int read_octets(u64 address, struct octets *octets)
{
	const struct net *net = (void *)address;
	struct octets sum = {};

	sum.v4 = BPF_CORE_READ(net, mib.ip_statistics);
	sum.v6 = BPF_CORE_READ(net, mib.ipv6_statistics);
	bpf_loop(MAX_CPUS, add_octets, &sum, 0);
	if (octets)
		*octets = sum;
	return 0;
}

static __always_inline struct net *net_of(const struct task_struct *task)
{
	return BPF_CORE_READ(task, nsproxy, net_ns);
}

/* That of the host is the one of the task from which all others stem. */
static struct net *host_net;

/* The kernel's BTF cannot be asked for the value of an enum without a name. What stands in the other
 * of the two places is a number of odd packets, on any kernel, and less than the bytes that a host
 * has sent. */
enum { place_unknown, place_now, place_before };
static u32 place_of_sent;

__weak int find_host(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct octets sum = {};

	for (int depth = 0; depth < 64; depth++) {
		struct task_struct *parent = BPF_CORE_READ(task, real_parent);

		if (parent == task)
			break;
		task = parent;
	}
	if (BPF_CORE_READ(task, pid))
		return 0;
	host_net = net_of(task);
	read_octets((u64)host_net, &sum);
	if (sum.sent != sum.sent_before)
		place_of_sent = sum.sent > sum.sent_before ? place_now : place_before;
	return 0;
}

static __always_inline void know_host(void)
{
	if (!place_of_sent)
		find_host();
}

/* Traffic since the last time; the host must be known. A namespace is told from another one that later lies in the same
 * place by its cookie; that of the host is no container's. */
__weak int read_network(struct container *known, u64 address, struct count_value *row)
{
	struct net *net = (void *)address;
	struct octets sum = {};
	u64 cookie = BPF_CORE_READ(net, net_cookie);

	if (!known || !net || net == host_net || !place_of_sent)
		return 0;
	read_octets((u64)net, &sum);
	u64 sent = place_of_sent == place_now ? sum.sent : sum.sent_before;

	if (BPF_CORE_READ(net, net_cookie) != cookie)
		return 0;
	if (known->net != net || known->net_cookie != cookie) {
		known->received = sum.received;
		known->sent = sent;
		known->net_cookie = cookie;
		known->net = net;
		return 0;
	}
	u64 more_received = advance(&known->received, sum.received);
	u64 more_sent = advance(&known->sent, sent);

	if (row) {
		__sync_fetch_and_add(&row->rx_bytes, more_received);
		__sync_fetch_and_add(&row->tx_bytes, more_sent);
	}
	return 0;
}

/* ---- memory and throttling ---- */

/* mm/page_counter.c counts in pages; what has no limit has the root's: S64_MAX / PAGE_SIZE. */
__weak int read_memory(u64 container, u64 set, bytes_t *memory, bytes_t *limit)
{
	u32 id = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	struct mem_cgroup *group = (void *)controller_of((void *)container, (void *)set, id);

	if (!group || !memory || !limit)
		return 0;
	struct cgroup_root *root = BPF_CORE_READ(group, css.cgroup, root);
	struct mem_cgroup *top = (void *)state_at(root->cgrp.subsys, id);
	u64 unlimited = BPF_CORE_READ(top, memory.max), most = BPF_CORE_READ(group, memory.max);

	if (!unlimited)
		return 0;
	u64 page = S64_MAX / unlimited;

	*memory = BPF_CORE_READ(group, memory.usage.counter) * page;
	*limit = most == unlimited ? 0 : most * page;
	return 0;
}

__weak int read_throttling(struct container *known, u64 container, u64 set,
			   struct count_value *row)
{
	u32 id = bpf_core_enum_value(enum cgroup_subsys_id, cpu_cgrp_id);
	struct task_group *group = (void *)controller_of((void *)container, (void *)set, id);

	if (!known || !group || !bpf_core_field_exists(group->cfs_bandwidth))
		return 0;
	u64 periods = BPF_CORE_READ(group, cfs_bandwidth.nr_periods);
	u64 throttled = BPF_CORE_READ(group, cfs_bandwidth.nr_throttled);
	u64 time = BPF_CORE_READ(group, cfs_bandwidth.throttled_time);

	if (known->periods == NOT_READ) {
		known->periods = periods;
		known->throttled_periods = throttled;
		known->throttled_time = time;
		return 0;
	}
	periods = advance(&known->periods, periods);
	throttled = advance(&known->throttled_periods, throttled);
	time = advance(&known->throttled_time, time);
	if (!row)
		return 0;
	__sync_fetch_and_add(&row->periods, periods);
	__sync_fetch_and_add(&row->throttled_periods, throttled);
	__sync_fetch_and_add(&row->throttled_time, time);
	return 0;
}

/* A v1 controller cannot be reached before there are tasks, and is then as new as the container. */
static __always_inline void begin_throttling(struct container *known, const struct cgroup *cgroup)
{
	read_throttling(known, (u64)cgroup, 0, NULL);
	if (known->periods == NOT_READ)
		known->periods = known->throttled_periods = known->throttled_time = 0;
}

/* ---- tasks ---- */

/* The tasks of a cgroup are in sets, one for each combination of cgroups in all hierarchies. */
struct census {
	const struct list_head *links, *link;
	const struct list_head *tasks, *task;
	const struct css_set *set;
	struct net *net;
	u64 processes, threads;
};

static __always_inline const struct list_head *next_of(const struct list_head *entry)
{
	return BPF_CORE_READ(entry, next);
}

static long count_task(u32 index, struct census *census)
{
	if (!census->task || census->task == census->tasks)
		return 1;
	const struct task_struct *task =
		(void *)census->task - bpf_core_field_offset(struct task_struct, cg_list);

	if (BPF_CORE_READ(task, pid) == BPF_CORE_READ(task, tgid))
		census->processes++;
	if (!census->net)
		census->net = net_of(task);
	census->task = next_of(census->task);
	return 0;
}

static long count_set(u32 index, struct census *census)
{
	if (!census->link || census->link == census->links)
		return 1;
	const struct cgrp_cset_link *link =
		(void *)census->link - bpf_core_field_offset(struct cgrp_cset_link, cset_link);
	const struct css_set *set = BPF_CORE_READ(link, cset);
	s32 threads = BPF_CORE_READ(set, nr_tasks);

	census->link = next_of(census->link);
	if (!census->set || threads > 0)
		census->set = set;
	if (threads <= 0)
		return 0;
	census->threads += threads;
	census->tasks = &set->tasks;
	census->task = BPF_CORE_READ(set, tasks.next);
	/* A task may leave while it is looked at, and the list with it: no further than this. */
	bpf_loop(threads < MAX_THREADS ? threads : MAX_THREADS, count_task, census, 0);
	return 0;
}

__weak int take_census(u64 address, struct census *census)
{
	const struct cgroup *cgroup = (void *)address;
	struct census sum = {};

	sum.links = &cgroup->cset_links;
	sum.link = BPF_CORE_READ(cgroup, cset_links.next);
	bpf_loop(MAX_SETS, count_set, &sum, 0);
	if (census)
		*census = sum;
	return 0;
}

/* ---- reading one cgroup ---- */

static struct container unknown; /* never written to */

/* What is known of a cgroup. One that was not seen before, or was no target for a while, is counted
 * from now on: then `fresh` is set. NULL: there is no room. */
static __noinline struct container *container_at(const struct cgroup *cgroup, bool *fresh)
{
	cgroup_id_t id = id_of(cgroup);
	struct container *known = bpf_map_lookup_elem(&containers, &id);

	*fresh = !known || known->walk + 1 < walks;
	if (!*fresh)
		return known;
	struct cpu_time time = {};

	read_cpu_time((u64)cgroup, &time);
	if (!known)
		bpf_map_update_elem(&containers, &id, &unknown, BPF_NOEXIST);
	known = bpf_map_lookup_elem(&containers, &id);
	if (!known)
		return NULL;
	known->cpu = time.total;
	known->user = time.user;
	known->system = time.system;
	known->periods = NOT_READ;
	known->walk = walks;
	known->first.cgroup_id = id;
	return known;
}

static __always_inline void add_cpu(struct container *known, const struct cpu_time *now,
				    struct count_value *row)
{
	u64 total = advance(&known->cpu, now->total);
	u64 user = advance(&known->user, now->user);
	u64 system = advance(&known->system, now->system);

	user = user_part(total, user, system);
	__sync_fetch_and_add(&row->cpu_user, user);
	__sync_fetch_and_add(&row->cpu_system, total - user);
}

/* Adds what a cgroup used since the last time to its container's row of this interval. */
__weak int read_use(u64 address, bool walking)
{
	struct cgroup *cgroup = (void *)address;
	struct match match = {};
	struct cgroup *outer = outermost_of(cgroup);

	if (!match_container(&match, outer))
		return 0;
	bool fresh = false, fresh_outer = false;
	struct census census = {};
	struct cpu_time time = {};
	struct container *known = container_at(cgroup, &fresh);
	struct container *known_outer = outer == cgroup ? known : container_at(outer, &fresh_outer);

	take_census((u64)cgroup, &census);
	if (!known || !known_outer) {
		if (census.threads)
			tally_lose(&match);
		return 0;
	}
	known->walk = known_outer->walk = walks;
	read_cpu_time((u64)cgroup, &time);
	struct count_value *row = NULL;

	if (!fresh && (census.threads || time.total > known->cpu)) {
		row = row_of(&match);
		if (!row)
			return 0;
		add_cpu(known, &time, row);
		if (walking) {
			__sync_fetch_and_add(&row->processes, census.processes);
			__sync_fetch_and_add(&row->threads, census.threads);
		}
		read_memory((u64)outer, (u64)census.set, &row->memory, &row->memory_limit);
	}
	read_throttling(known_outer, (u64)outer, (u64)census.set, fresh_outer ? NULL : row);
	read_network(known_outer, (u64)(census.net ? census.net : known_outer->net), row);
	return 0;
}

SEC("iter/cgroup")
int walk(struct bpf_iter__cgroup *context)
{
	struct cgroup *cgroup = context->cgroup;

	know_host();
	if (!cgroup)
		walks++;
	else if (is_watched(cgroup))
		read_use((u64)plain(cgroup), true);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(removed, struct cgroup *trusted)
{
	struct cgroup *cgroup = plain(trusted);
	cgroup_id_t id = id_of(cgroup);

	if (!is_watched(cgroup) || !bpf_map_lookup_elem(&containers, &id))
		return 0;
	if (usage)
		read_use((u64)cgroup, false);
	bpf_map_delete_elem(&containers, &id);
	return 0;
}

/* include/linux/blk_types.h */
enum { REQ_OP_MASK = 0xff, REQ_OP_WRITE = 1, BIO_CLONED = 1 << 1 };

/* Whose I/O it is: in the v2 hierarchy the kernel notes it, also for pages that are written back
 * later. In v1 it is the current task's, or, of what is written back, nobody's. */
static __always_inline bool match_bio(struct match *match, struct bio *bio)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (bpf_core_field_exists(bio->bi_blkg)) {
		struct cgroup *noted = bio->bi_blkg->blkcg->css.cgroup;

		if (noted && noted->root->hierarchy_id == cgroup_hierarchy &&
		    match_cgroup(match, noted->kn->id))
			return match_container(match, outermost_of(plain(noted)));
	}
	return match_cgroup(match, task_cgroup_id(task)) &&
	       match_container(match, outermost_of(cgroup_of(task)));
}

/* What a device mapper makes of a request is a clone, and not counted a second time. */
SEC("tp_btf/block_bio_queue")
int BPF_PROG(queued, struct bio *bio)
{
	u32 operation = bio->bi_opf & REQ_OP_MASK, bytes = bio->bi_iter.bi_size;
	struct match match = {};

	if (operation > REQ_OP_WRITE || !bytes || bio->bi_flags & BIO_CLONED)
		return 0;
	if (!match_bio(&match, bio))
		return 0;
	struct count_value *row = row_of(&match);

	if (!row)
		return 0;
	if (operation == REQ_OP_WRITE) {
		__sync_fetch_and_add(&row->writes, 1);
		__sync_fetch_and_add(&row->write_bytes, bytes);
	} else {
		__sync_fetch_and_add(&row->reads, 1);
		__sync_fetch_and_add(&row->read_bytes, bytes);
	}
	return 0;
}

/* ---- events ---- */

static __always_inline struct event *begin(struct match *match, enum kind kind)
{
	if (!event_admit(match))
		return NULL;
	struct event *event = event_begin(match);

	if (!event)
		return NULL;
	event->kind = kind;
	event->exit_code = 0;
	event->signal = 0;
	event->filename = 0;
	event->duration = 0;
	event->memory = 0;
	event->memory_limit = 0;
	return event;
}

/* Not inline: Linux 6.1 has no more stack for those that call it. */
static __noinline int stop(struct container *known)
{
	struct match match = {};

	if (!match_owner(&match, &known->first))
		return 0;
	struct event *event = begin(&match, kind_stop);

	if (!event)
		return 0;
	event->exit_code = known->status >> 8 & 0xff;
	event->signal = known->status & 0x7f;
	if (known->first.start_time)
		event->duration = match.time - known->first.start_time;
	return event_send(&match);
}

/* kernel/cgroup/cgroup.c, cgroup_update_populated: in a cgroup, or below it, the first task has
 * come or the last one has gone. */
SEC("tp_btf/cgroup_notify_populated")
int BPF_PROG(populated, struct cgroup *trusted, const char *path, int is_populated)
{
	struct cgroup *cgroup = plain(trusted);
	struct match match = {};
	bool fresh;

	if (!is_watched(cgroup) || !match_cgroup(&match, id_of(cgroup)))
		return 0;
	struct container *known = container_at(cgroup, &fresh);
	bool is_container = outermost_of(cgroup) == cgroup;

	if (!known) {
		if (lifecycle && is_container)
			tally_lose(&match);
		return 0;
	}
	if (is_populated) {
		known->awaits_start = is_container;
		if (fresh)
			begin_throttling(known, cgroup);
		return 0;
	}
	if (usage)
		read_use((u64)cgroup, false);
	if (lifecycle && is_container && known->lived && !known->awaits_start)
		stop(known);
	known->awaits_start = 0;
	known->lived = 0;
	known->status = 0;
	known->first.start_time = 0;
	known->first.pid = known->first.tid = known->first.uid = 0;
	__builtin_memset(known->first.comm, 0, sizeof(known->first.comm));
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(started, struct task_struct *task, s32 old_tid, struct linux_binprm *program)
{
	struct match match = {};

	if (!match_current(&match))
		return 0;
	cgroup_id_t id = id_of(outermost_of(cgroup_of(task)));
	struct container *known = bpf_map_lookup_elem(&containers, &id);

	if (!known || !known->awaits_start ||
	    !__sync_val_compare_and_swap(&known->awaits_start, 1, 0))
		return 0;
	owner_current(&known->first);
	known->first.cgroup_id = id;
	known->lived = 1;
	know_host();
	read_network(known, (u64)net_of(task), NULL);
	if (!lifecycle || !match_owner(&match, &known->first))
		return 0;
	struct event *event = begin(&match, kind_start);

	if (!event)
		return 0;
	event->filename = event_kernel_string(program->filename, PATH_MAX);
	return event_send(&match);
}

/* ---- out of memory ---- */

static __noinline int tell_oom(struct task_struct *victim)
{
	struct cgroup *outer = outermost_of(cgroup_of(victim));
	struct match match = {};
	struct owner owner = {
		.cgroup_id = id_of(outer),
		.start_time = BPF_CORE_READ(victim, group_leader, start_boottime),
		.pid = BPF_CORE_READ(victim, tgid),
		.tid = BPF_CORE_READ(victim, pid),
		.uid = BPF_CORE_READ(victim, cred, uid.val),
	};

	BPF_CORE_READ_INTO(&owner.comm, victim, comm);
	if (!match_owner(&match, &owner))
		return 0;
	struct event *event = begin(&match, kind_oom);

	if (!event)
		return 0;
	read_memory((u64)outer, (u64)BPF_CORE_READ(victim, cgroups), &event->memory, &event->memory_limit);
	return event_send(&match);
}

/* Up to Linux 6.7 the tracepoint tells the victim's number alone, and it is told of when it dies. */
typedef void (*btf_trace_mark_victim___task)(void *, struct task_struct *, uid_t);

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, tid_t);
	__type(value, u8);
} victims SEC(".maps");

SEC("tp_btf/mark_victim")
int victim_marked(u64 *arguments)
{
	u8 yes = 1;

	if (bpf_core_type_exists(btf_trace_mark_victim___task))
		return tell_oom((struct task_struct *)arguments[0]);
	tid_t victim = arguments[0];

	bpf_map_update_elem(&victims, &victim, &yes, BPF_ANY);
	return 0;
}

/* Whether a process is, or was before the tracker began, the first one of its container. */
static __always_inline bool is_first(const struct container *known, const struct task_struct *leader)
{
	if (known->first.pid == leader->tgid)
		return known->first.start_time == leader->start_boottime;
	struct pid *pid = BPF_CORE_READ(leader, thread_pid);
	u64 level = BPF_CORE_READ(pid, level);

	if (!level || known->first.start_time)
		return false;
	struct upid *own = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			   level * bpf_core_type_size(struct upid);

	return BPF_CORE_READ(own, nr) == 1;
}

/* include/linux/sched/signal.h */
enum { SIGNAL_GROUP_EXIT = 4 };

SEC("tp_btf/sched_process_exit")
int BPF_PROG(ended, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	tid_t tid = task->pid;
	struct match match = {};

	if (!match_current(&match))
		return 0;
	if (!bpf_core_type_exists(btf_trace_mark_victim___task) &&
	    !bpf_map_delete_elem(&victims, &tid))
		tell_oom(task);
	bool fresh;
	struct container *known = container_at(outermost_of(cgroup_of(task)), &fresh);

	if (!known)
		return 0;
	known->lived = 1;
	if (!is_first(known, leader))
		return 0;
	if (!known->first.pid) {
		cgroup_id_t id = known->first.cgroup_id;

		owner_current(&known->first);
		known->first.cgroup_id = id;
	}
	/* As wait(2) would have it: kernel/exit.c, wait_task_zombie. */
	known->status = task->signal->flags & SIGNAL_GROUP_EXIT ? task->signal->group_exit_code
								: leader->exit_code;
	return 0;
}
