// SPDX-License-Identifier: GPL-2.0
/* System calls by which a process gets at others, at other namespaces, or at the kernel itself: each at
 * its end, with what it was about, whether it was refused or not.
 *
 * All calls of the node come by here. Those of no interest are turned away by one test of a bit, before
 * anything else is looked at. Calls that seccomp refused have an end without a beginning, and are seen.
 */
#include "lineage.h"
#include "namespace.h"

struct event {
	struct subject who;
	LINEAGE_COLUMNS;
	syscall_t call;
	errno_t error;
	s64 result;
	s64 request;
	s64 arguments[6];
	string_t text;
	tgid_t target_pid;
	comm_t target_comm;
	enum namespace_flags namespaces;
	uid_t old_uid;
	uid_t new_uid;
	u32 old_gid;
	u32 new_gid;
	bool foreign;
	bool host;
	bool runtime;
	bool exe_in_image;
};
enum { MAX_TEXT = 1024, EVENT_TAIL = 2 * MAX_TEXT + LINEAGE_TAIL };

#include "capability.h"
#include "chain.h"
#include "deny.h"
#include "event_lineage.h"
#include "filter.h"
#include "layer.h"
#include "runtime.h"
#include "syscall.h"
#include "task.h"

char LICENSE[] SEC("license") = "GPL";

const volatile bool processes = true;
const volatile bool namespaces = true;
const volatile bool mounts = true;
const volatile bool identities = true;
const volatile bool kernel = true;
const volatile bool interfaces = true;

WHERE(ppid);
WHERE(call);
AMONG(call);
WHERE(error);
WHERE(result);
WHERE(request);
AMONG(request);
WHERE_FLAGS(namespaces);
WHERE(target_pid);
WHERE(foreign);
WHERE(host);
WHERE(runtime);
WHERE(old_uid);
WHERE(new_uid);

/* ---- calls ---- */

/* Each with its numbers on x86 and arm64; -1: not there. W: passed on. */
#define CALLS(X, W)                              \
	X(W, ptrace, 101, 117)                   \
	X(W, process_vm_readv, 310, 270)         \
	X(W, process_vm_writev, 311, 271)        \
	X(W, pidfd_getfd, 438, 438)              \
	X(W, kill, 62, 129)                      \
	X(W, tkill, 200, 130)                    \
	X(W, tgkill, 234, 131)                   \
	X(W, rt_sigqueueinfo, 129, 138)          \
	X(W, rt_tgsigqueueinfo, 297, 240)        \
	X(W, pidfd_send_signal, 424, 424)        \
	X(W, setns, 308, 268)                    \
	X(W, unshare, 272, 97)                   \
	X(W, clone, 56, 220)                     \
	X(W, clone3, 435, 435)                   \
	X(W, chroot, 161, 51)                    \
	X(W, pivot_root, 155, 41)                \
	X(W, sethostname, 170, 161)              \
	X(W, setdomainname, 171, 162)            \
	X(W, open_tree, 428, 428)                \
	X(W, move_mount, 429, 429)               \
	X(W, fsopen, 430, 430)                   \
	X(W, fsconfig, 431, 431)                 \
	X(W, fsmount, 432, 432)                  \
	X(W, fspick, 433, 433)                   \
	X(W, mount_setattr, 442, 442)            \
	X(W, name_to_handle_at, 303, 264)        \
	X(W, open_by_handle_at, 304, 265)        \
	X(W, swapon, 167, 224)                   \
	X(W, swapoff, 168, 225)                  \
	X(W, quotactl, 179, 60)                  \
	X(W, acct, 163, 89)                      \
	X(W, setuid, 105, 146)                   \
	X(W, setgid, 106, 144)                   \
	X(W, setreuid, 113, 145)                 \
	X(W, setregid, 114, 143)                 \
	X(W, setresuid, 117, 147)                \
	X(W, setresgid, 119, 149)                \
	X(W, setfsuid, 122, 151)                 \
	X(W, setfsgid, 123, 152)                 \
	X(W, capset, 126, 91)                    \
	X(W, prctl, 157, 167)                    \
	X(W, init_module, 175, 105)              \
	X(W, finit_module, 313, 273)             \
	X(W, delete_module, 176, 106)            \
	X(W, kexec_load, 246, 104)               \
	X(W, kexec_file_load, 320, 294)          \
	X(W, reboot, 169, 142)                   \
	X(W, iopl, 172, -1)                      \
	X(W, ioperm, 173, -2)                    \
	X(W, settimeofday, 164, 170)             \
	X(W, clock_settime, 227, 112)            \
	X(W, syslog, 103, 116)                   \
	X(W, bpf, 321, 280)                      \
	X(W, perf_event_open, 298, 241)          \
	X(W, userfaultfd, 323, 282)              \
	X(W, io_uring_setup, 425, 425)           \
	X(W, memfd_create, 319, 279)             \
	X(W, add_key, 248, 217)                  \
	X(W, request_key, 249, 218)              \
	X(W, keyctl, 250, 219)                   \
	X(W, personality, 135, 92)

#if defined(__TARGET_ARCH_x86)
#define NUMBER_OF(W, name, x86, arm64) call_##name = x86,
#else
#define NUMBER_OF(W, name, x86, arm64) call_##name = arm64,
#endif
enum number { CALLS(NUMBER_OF, ) };

/* What is not there stands where no call does. */
#define ENTRY_OF(W, name, x86, arm64) [call_##name & (CHAINED_CALLS - 1)] = call_##name >= 0,
const volatile u8 chained_calls[CHAINED_CALLS] = {CALLS(ENTRY_OF, )};

/* Calls that set user and group, by which one may regain what one had. */
#define IDENTITY_CALLS(X, W)                                     \
	X(W, setuid, , ) X(W, setgid, , ) X(W, setreuid, , )     \
	X(W, setregid, , ) X(W, setresuid, , ) X(W, setresgid, , ) \
	X(W, setfsuid, , ) X(W, setfsgid, , )

/* The bits of 64 calls: those of the list are 1. */
#define BIT_OF(W, name, x86, arm64) \
	| (call_##name >= 64 * W && call_##name < 64 * (W + 1) ? 1ull << call_##name % 64 : 0)

static __always_inline bool sets_identity(u32 number)
{
	switch (number / 64) {
	case 1:
		return (0 IDENTITY_CALLS(BIT_OF, 1)) >> number % 64 & 1;
	case 2:
		return (0 IDENTITY_CALLS(BIT_OF, 2)) >> number % 64 & 1;
	}
	return false;
}

/* ---- users and groups, before and after ---- */

struct identity {
	u32 uid, euid, suid, fsuid, gid, egid, sgid, fsgid;
};

/* What a thread's last such call made of it; and, of one that did none, what it began with. To ask at
 * the beginning of a call would cost all calls of the node as much again as this hook does. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, s32);
	__type(value, struct identity);
} identities_known SEC(".maps");

static __always_inline void identity_of(struct identity *to, const struct cred *cred)
{
	to->uid = READ(struct cred, cred, uid.val);
	to->euid = READ(struct cred, cred, euid.val);
	to->suid = READ(struct cred, cred, suid.val);
	to->fsuid = READ(struct cred, cred, fsuid.val);
	to->gid = READ(struct cred, cred, gid.val);
	to->egid = READ(struct cred, cred, egid.val);
	to->sgid = READ(struct cred, cred, sgid.val);
	to->fsgid = READ(struct cred, cred, fsgid.val);
}

static __always_inline void identity_note(struct task_struct *task, const struct identity *identity)
{
	struct identity *known = bpf_task_storage_get(&identities_known, task, NULL,
						      BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (known)
		*known = *identity;
}

/* Where nothing is known, nothing was called since the thread's program was opened to be run. */
static __always_inline void identity_before(struct identity *to, struct task_struct *task)
{
	struct identity *known = bpf_task_storage_get(&identities_known, task, NULL, 0);
	const struct file *program = task->mm->exe_file;

	if (known)
		*to = *known;
	else
		identity_of(to, READ(struct file, program, f_cred));
}

SEC("tp_btf/task_newtask")
int BPF_PROG(forked, struct task_struct *child)
{
	struct identity *known = bpf_task_storage_get(&identities_known, bpf_get_current_task_btf(),
						      NULL, 0);

	if (known)
		identity_note(child, known);
	return 0;
}

/* A program may come with other users and groups than those of who opened it. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(started, struct task_struct *task, s32 old_tid, struct linux_binprm *program)
{
	bool is_known = bpf_task_storage_get(&identities_known, task, NULL, 0);
	struct match match = {};
	struct identity now;

	if (!is_known && !BPF_CORE_READ_BITFIELD(program, secureexec))
		return 0;
	if (!match_current(&match))
		return 0;
	identity_of(&now, task->cred);
	identity_note(task, &now);
	return 0;
}

/* ---- what a call was about ---- */

/* Where the text of an event is. */
enum text { text_none, text_user, text_descriptor, text_file };

struct report {
	s32 number;
	errno_t error;
	s64 result;
	struct call_arguments call;
	s64 request;
	u64 text;	    /* an address of user space, a descriptor, or the address of a file */
	u32 text_is;	    /* enum text */
	u32 text_length;    /* 0: up to its NUL */
	tgid_t target_pid;
	u32 namespaces; /* enum namespace_flags */
	comm_t target_comm;
	struct identity before, after;
	bool foreign, host;
};

static __always_inline bool has_text(struct report *report, u64 address)
{
	report->text_is = text_user;
	report->text = address;
	return true;
}

static __always_inline bool has_file(struct report *report, s64 fd)
{
	report->text_is = text_descriptor;
	report->text = fd;
	return true;
}

/* The kernel takes 32 bits of it, whatever stands above them in the register. */
static __always_inline bool has_request(struct report *report, u32 request)
{
	report->request = request;
	return true;
}

/* include/uapi/linux/magic.h */
enum { NSFS_MAGIC = 0x6e736673, PID_FS_MAGIC = 0x50494446 };

/* Of a file that is known to be a pidfd: fs/pidfs.c, and kernel/fork.c before Linux 6.9. */
static __always_inline const struct pid *pid_of_file(const struct file *file)
{
	const struct inode *inode = READ(struct file, file, f_inode);

	return magic_of(inode) == PID_FS_MAGIC ? READ(struct inode, inode, i_private)
					      : READ(struct file, file, private_data);
}

static __always_inline const struct pid *pid_of_number(s32 number)
{
	const struct upid *own = number_of(bpf_get_current_task_btf());

	return number > 0 ? find_pid(READ(struct upid, own, ns), number) : NULL;
}

static __always_inline void report_target(struct report *report, const struct task_struct *task)
{
	report->target_pid = READ(struct task_struct, task, tgid);
	bpf_probe_read_kernel(report->target_comm, sizeof(report->target_comm),
			      (const void *)task + bpf_core_field_offset(struct task_struct, comm));
	report->foreign = cgroup_id_of(task) != task_cgroup_id(bpf_get_current_task_btf());
}

/* Who a call was for: a number, or a pidfd. Global: see lose_for_first in match.h. */
__weak int find_target(struct report *report, s32 number, bool is_pidfd)
{
	const struct file *file = is_pidfd ? file_of(number) : NULL;
	const struct pid *pid = is_pidfd ? file ? pid_of_file(file) : NULL : pid_of_number(number);
	const struct task_struct *task = pid ? task_of_pid(pid) : NULL;

	if (report && task)
		report_target(report, task);
	return 0;
}

/* A signal to a process of the same cgroup is nothing special. */
static __always_inline bool signals(struct report *report, u32 signal, bool is_pidfd)
{
	report->request = signal;
	find_target(report, report->call.of[0], is_pidfd);
	return report->foreign;
}

static __always_inline bool traces(struct report *report)
{
	/* include/uapi/linux/ptrace.h, arch/x86/include/uapi/asm/ptrace-abi.h */
	enum {
		TRACEME = 0, POKETEXT = 4, POKEDATA = 5, POKEUSR = 6, SETREGS = 13, SETFPREGS = 15,
		ATTACH = 16, SETREGSET = 0x4205, SEIZE = 0x4206,
	};
	s64 request = report->request = report->call.of[0];

	if (request == TRACEME)
		return true;
	find_target(report, report->call.of[1], false);
	return (request >= POKETEXT && request <= POKEUSR) || request == SETREGS ||
	       request == SETFPREGS || request == ATTACH || request == SETREGSET || request == SEIZE;
}

static __always_inline bool reaches(struct report *report, bool is_pidfd)
{
	enum { EBADF = 9 };

	if (!is_pidfd || report->error != EBADF)
		find_target(report, report->call.of[0], is_pidfd);
	return true;
}

/* ---- namespaces ---- */

/* include/uapi/linux/sched.h: CLONE_NEW… */
static __always_inline u32 namespaces_of_flags(u64 flags)
{
	return (flags >> 17 & 1) * namespace_flags_mnt | (flags >> 25 & 1) * namespace_flags_cgroup |
	       (flags >> 26 & 1) * namespace_flags_uts | (flags >> 27 & 1) * namespace_flags_ipc |
	       (flags >> 28 & 1) * namespace_flags_user | (flags >> 29 & 1) * namespace_flags_pid |
	       (flags >> 30 & 1) * namespace_flags_net | (flags >> 7 & 1) * namespace_flags_time;
}

static __always_inline bool makes(struct report *report, u64 flags)
{
	report->request = flags;
	report->namespaces = namespaces_of_flags(flags);
	return report->namespaces;
}

/* The low byte is the signal that ends the child: there is no namespace of time but by the next call. */
static __always_inline bool clones(struct report *report, u64 flags)
{
	return makes(report, flags & ~0xffull);
}

static __always_inline bool clones3(struct report *report)
{
	u64 flags = 0;

	bpf_probe_read_user(&flags, sizeof(flags), (const void *)report->call.of[0]);
	return makes(report, flags);
}

/* A namespace is entered by the file that stands for it. */
static __always_inline void enter_file(struct report *report, const struct file *file)
{
	const struct inode *inode = READ(struct file, file, f_inode);
	u64 entered = (u64)BPF_CORE_READ(inode, i_private);
	struct namespaces hosts;

	namespaces_of(&hosts, host_task());
	report->namespaces |= namespaces_of_flags(type_of_namespace((const void *)entered));
#pragma unroll
	for (u32 i = 0; i < NAMESPACES; i++)
		report->host |= are_same(entered, hosts.of[i]);
}

/* Those of a process have been entered, by its pidfd. */
static __always_inline void enter_process(struct report *report, const struct file *file)
{
	const struct pid *pid = pid_of_file(file);
	const struct task_struct *task = task_of_pid(pid);
	struct namespaces theirs, hosts;
	u32 same = 0;

	if (!task)
		return;
	namespaces_of(&theirs, task);
	namespaces_of(&hosts, host_task());
#pragma unroll
	for (u32 i = 0; i < NAMESPACES; i++)
		same |= are_same(theirs.of[i], hosts.of[i]) << i;
	report->host = same & report->namespaces;
}

__weak int enter(struct report *report)
{
	if (!report)
		return 0;
	const struct file *file = file_of(report->call.of[0]);

	has_request(report, report->call.of[1]);
	report->namespaces = namespaces_of_flags(report->request);
	if (!file)
		return 0;
	if (magic_of(READ(struct file, file, f_inode)) == NSFS_MAGIC) {
		enter_file(report, file);
	} else if (report->namespaces) {
		enter_process(report, file);
		find_target(report, report->call.of[0], true);
	}
	return 0;
}

/* ---- identities ---- */

static __always_inline bool is_changed(const struct report *report)
{
	const struct identity *before = &report->before, *now = &report->after;

	return before->uid != now->uid || before->euid != now->euid || before->suid != now->suid ||
	       before->fsuid != now->fsuid || before->gid != now->gid ||
	       before->egid != now->egid || before->sgid != now->sgid ||
	       before->fsgid != now->fsgid;
}

static __always_inline bool changes_identity(struct report *report)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (report->error)
		return true;
	identity_before(&report->before, task);
	if (!is_changed(report))
		return false;
	identity_note(task, &report->after);
	return true;
}

static __always_inline bool controls_itself(struct report *report)
{
	enum { PR_SET_SECUREBITS = 28, PR_SET_MM = 35 }; /* include/uapi/linux/prctl.h */

	has_request(report, report->call.of[0]);
	return report->request == PR_SET_SECUREBITS || report->request == PR_SET_MM;
}

static __always_inline bool is_other_personality(struct report *report)
{
	enum { ASK = -1 };

	has_request(report, report->call.of[0]);
	return (s32)report->request != ASK;
}

static __always_inline bool configures(struct report *report)
{
	enum { SET_STRING = 1 }; /* include/uapi/linux/mount.h: FSCONFIG_SET_STRING */

	has_request(report, report->call.of[1]);
	return has_text(report, report->call.of[report->request == SET_STRING ? 3 : 2]);
}

static __always_inline bool names_host(struct report *report)
{
	report->text_length = AT_MOST((u32)report->call.of[1], MAX_TEXT - 1);
	return has_text(report, report->call.of[0]);
}

/* ---- groups of calls ---- */

static __always_inline bool of_processes(struct report *report)
{
	switch (report->number) {
	case call_ptrace:
		return traces(report);
	case call_process_vm_readv:
	case call_process_vm_writev:
		return reaches(report, false);
	case call_pidfd_getfd:
		return reaches(report, true);
	case call_kill:
	case call_tkill:
	case call_rt_sigqueueinfo:
		return signals(report, report->call.of[1], false);
	case call_tgkill:
	case call_rt_tgsigqueueinfo:
		return signals(report, report->call.of[2], false);
	case call_pidfd_send_signal:
		return signals(report, report->call.of[1], true);
	}
	return false;
}

static __always_inline bool of_namespaces(struct report *report)
{
	switch (report->number) {
	case call_setns:
		return !enter(report);
	case call_unshare:
		return makes(report, report->call.of[0]);
	case call_clone:
		return clones(report, report->call.of[0]);
	case call_clone3:
		return clones3(report);
	case call_chroot:
	case call_pivot_root:
		return has_text(report, report->call.of[0]);
	case call_sethostname:
	case call_setdomainname:
		return names_host(report);
	}
	return false;
}

static __always_inline bool of_mounts(struct report *report)
{
	switch (report->number) {
	case call_open_tree:
	case call_fspick:
	case call_mount_setattr:
	case call_name_to_handle_at:
		return has_text(report, report->call.of[1]);
	case call_move_mount:
		return has_text(report, report->call.of[3]);
	case call_fsconfig:
		return configures(report);
	case call_fsopen:
	case call_swapon:
	case call_swapoff:
	case call_acct:
		return has_text(report, report->call.of[0]);
	case call_quotactl:
		return has_request(report, report->call.of[0]) &&
		       has_text(report, report->call.of[1]);
	case call_open_by_handle_at:
		return report->error || has_file(report, report->result);
	case call_fsmount:
		return true;
	}
	return false;
}

static __always_inline bool of_identities(struct report *report)
{
	if (sets_identity(report->number))
		return changes_identity(report);
	switch (report->number) {
	case call_capset:
		return true;
	case call_prctl:
		return controls_itself(report);
	}
	return false;
}

static __always_inline bool of_kernel(struct report *report)
{
	switch (report->number) {
	case call_init_module:
		return has_text(report, report->call.of[2]);
	case call_finit_module:
	case call_kexec_file_load:
		return has_file(report, report->call.of[0]);
	case call_delete_module:
		return has_text(report, report->call.of[0]);
	case call_kexec_load: /* which takes 64 */
		report->request = report->call.of[3];
		return true;
	case call_reboot:
		return has_request(report, report->call.of[2]);
	case call_iopl:
	case call_syslog:
		return has_request(report, report->call.of[0]);
	case call_ioperm:
	case call_settimeofday:
	case call_clock_settime:
		return true;
	}
	return false;
}

static __always_inline bool of_interfaces(struct report *report)
{
	switch (report->number) {
	case call_bpf:
	case call_keyctl:
		return has_request(report, report->call.of[0]);
	case call_memfd_create:
		return has_request(report, report->call.of[1]) &&
		       has_text(report, report->call.of[0]);
	case call_add_key:
	case call_request_key:
		return has_text(report, report->call.of[1]);
	case call_personality:
		return is_other_personality(report);
	case call_perf_event_open:
	case call_userfaultfd:
	case call_io_uring_setup:
		return true;
	}
	return false;
}

/* Says what a call was about, and whether it is of interest. */
__weak int describe(struct report *report)
{
	if (!report)
		return false;
	return (processes && of_processes(report)) || (namespaces && of_namespaces(report)) ||
	       (mounts && of_mounts(report)) || (identities && of_identities(report)) ||
	       (kernel && of_kernel(report)) || (interfaces && of_interfaces(report));
}

/* ---- rows ---- */

__weak string_t event_text(const struct report *report)
{
	if (!report)
		return 0;
	if (report->text_is == text_descriptor)
		return event_file_path(file_of(report->text));
	if (report->text_is == text_file)
		return event_file_path((const struct file *)report->text);
	if (report->text_is != text_user)
		return 0;
	u32 length = report->text_length;

	if (!length)
		return event_user_string((const void *)report->text, MAX_TEXT);
	return event_user_bytes((const void *)report->text, AT_MOST(length, MAX_TEXT));
}

static __always_inline bool is_wanted(const struct report *report)
{
	return within(&where_call, report->number) && among(&among_call, report->number) &&
	       within(&where_error, report->error) && within(&where_result, report->result) &&
	       within(&where_request, report->request) && among(&among_request, report->request) &&
	       has_flags(where_namespaces, report->namespaces) &&
	       within(&where_target_pid, report->target_pid) &&
	       within(&where_foreign, report->foreign) && within(&where_host, report->host) &&
	       within(&where_old_uid, report->before.euid) &&
	       within(&where_new_uid, report->after.euid) &&
	       within(&where_ppid, bpf_get_current_task_btf()->real_parent->tgid);
}

static __always_inline void fill(struct event *event, const struct report *report, bool runtime)
{
	event->call = report->number;
	event->error = report->error;
	event->result = report->result;
	event->request = report->request;
	__builtin_memcpy(event->arguments, report->call.of, sizeof(event->arguments));
	event->target_pid = report->target_pid;
	__builtin_memcpy(event->target_comm, report->target_comm, sizeof(event->target_comm));
	event->namespaces = report->namespaces;
	event->old_uid = report->before.euid;
	event->new_uid = report->after.euid;
	event->old_gid = report->before.egid;
	event->new_gid = report->after.egid;
	event->foreign = report->foreign;
	event->host = report->host;
	event->runtime = runtime;
	event->exe_in_image = runs_image(false);
	event->text = event_text(report);
	event_lineage(event);
}

static __always_inline int tell(struct match *match, const struct report *report)
{
	bool runtime = is_runtime();

	if (!is_wanted(report) || !within(&where_runtime, runtime) ||
	    !event_admit_unfiltered(match))
		return 0;
	struct event *event = event_begin(match);

	if (!event)
		return 0;
	fill(event, report, runtime);
	match->refused = is_refused_call(report->error);
	return event_send_filtered(match);
}

static __always_inline int call_ended(struct pt_regs *regs, s64 result)
{
	s32 number = call_number(regs);
	struct match match = {};

	if (!chained_calls[chained_call(number)] || call_is_of_parent(number, result) || !match_current(&match))
		return 0;
	struct report report = {
		.number = number,
		.error = is_error(result) ? -result : 0,
		.result = result,
	};

	call_arguments(&report.call, regs);
	identity_of(&report.after, bpf_get_current_task_btf()->cred);
	report.before = report.after;
	if (!describe(&report))
		return 0;
	return tell(&match, &report);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_ends, struct pt_regs *regs, long result)
{
	call_ended(regs, result);
	return chain_go_on(ctx, call_number(regs));
}

#include "privileged.deny.h"
