// SPDX-License-Identifier: GPL-2.0
/* The half of privileged.bpf.c at security hooks: calls that are refused before they have done anything.
 *
 * The hooks are passed by others than the calls that the tracker tells of: to look into a process' folder
 * in /proc asks the same as to trace it. So each program asks first which call the current task is in, and
 * takes what it tells of it from where the other half does; what the hook itself is given says that this
 * is the question that the call stands or falls with.
 */

static __always_inline void report_call(struct report *report, s32 number)
{
	report->number = number;
	call_arguments(&report->call, current_registers());
	identity_of(&report->after, bpf_get_current_task_btf()->cred);
	report->before = report->after;
}

/* Says what the current call is about, as if it was to succeed; false: it is of no interest. */
static __always_inline bool ask(struct report *report, s32 number)
{
	report_call(report, number);
	return describe(report);
}

static __always_inline void tell_refused(struct match *match, struct report *report, bool runtime)
{
	u64 turn = turn_begin();
	struct event *event = event_begin(match);

	if (!event)
		return;
	fill(event, report, runtime);
	event->error = match->enforced ? EPERM : 0;
	event->result = match->enforced ? -EPERM : 0;
	event_send_in_turn(match, turn);
}

/* Global: see lose_for_first in match.h. */
__weak int is_denied(struct report *report)
{
	struct match match = {};

	if (!report || !match_deed(&match))
		return false;
	bool runtime = is_runtime();

	if (!is_wanted(report) || !within(&where_runtime, runtime) ||
	    (filters && !wanted_in_turn(&match, event, fill(event, report, runtime))))
		return false;
	event_admit(&match);
	if (match.jobs)
		tell_refused(&match, report, runtime);
	return match.enforced;
}

static __always_inline int deny(struct report *report)
{
	return refusal(is_denied(report));
}

/* Where all that is asked of the call is in its registers. */
static __always_inline int deny_call(s32 number)
{
	struct report report = {};

	return ask(&report, number) ? deny(&report) : 0;
}

/* Likewise, of a hook that others pass as well as the call that is meant. */
static __always_inline int deny_in(s32 meant)
{
	s32 number = current_call();

	return number == meant ? deny_call(number) : 0;
}

/* ---- processes ---- */

/* What is asked for by those that look into /proc is to read, or asked by another call. Of requests to trace,
 * only those that begin it come here. include/linux/ptrace.h */
SEC("lsm/ptrace_access_check")
int BPF_PROG(process_is_reached, struct task_struct *target, u32 mode)
{
	enum { PTRACE_MODE_ATTACH = 2 };
	s32 number = current_call();
	struct report report = {};

	if (!processes || !(mode & PTRACE_MODE_ATTACH) ||
	    (number != call_ptrace && number != call_process_vm_readv &&
	     number != call_process_vm_writev && number != call_pidfd_getfd))
		return 0;
	report_call(&report, number);
	report.request = number == call_ptrace ? report.call.of[0] : 0;
	report_target(&report, target);
	return deny(&report);
}

SEC("lsm/ptrace_traceme")
int BPF_PROG(tracer_is_asked_for, struct task_struct *parent)
{
	return deny_call(call_ptrace);
}

static __always_inline bool is_signal(s32 number)
{
	return number == call_kill || number == call_tkill || number == call_tgkill ||
	       number == call_rt_sigqueueinfo || number == call_rt_tgsigqueueinfo ||
	       number == call_pidfd_send_signal;
}

/* sender: of a signal that a driver sends for it. A process that was within such a call when it was ended
 * sends those that its children have asked for: PR_SET_PDEATHSIG. */
SEC("lsm/task_kill")
int BPF_PROG(process_is_signalled, struct task_struct *target, struct kernel_siginfo *info, s32 signal,
	     const struct cred *sender)
{
	enum { PF_EXITING = 4 }; /* include/linux/sched.h */
	s32 number = current_call();
	struct report report = {};
	const void *given = NULL;

	/* Newer verifiers hold that no argument is NULL, and take a test of it for one of a constant. */
	bpf_probe_read_kernel(&given, sizeof(given), &ctx[3]);
	if (!processes || given || !is_signal(number) ||
	    bpf_get_current_task_btf()->flags & PF_EXITING)
		return 0;
	report_call(&report, number);
	report.request = signal;
	report_target(&report, target);
	return report.foreign ? deny(&report) : 0;
}

/* ---- namespaces ---- */

SEC("lsm/userns_create")
int BPF_PROG(user_namespace_is_made)
{
	return deny_in(call_unshare);
}

/* The flags are those that the kernel goes by: what clone3 was given, another thread may change. */
SEC("lsm/task_alloc")
int BPF_PROG(task_is_made, struct task_struct *task, u64 flags)
{
	s32 number = current_call();
	struct report report = {};

	if ((number != call_clone && number != call_clone3) || !namespaces)
		return 0;
	report_call(&report, number);
	bool makes_any = number == call_clone ? clones(&report, flags) : makes(&report, flags);

	return makes_any ? deny(&report) : 0;
}

SEC("lsm/path_chroot")
int BPF_PROG(root_changes)
{
	return deny_in(call_chroot);
}

SEC("lsm/sb_pivotroot")
int BPF_PROG(root_is_exchanged)
{
	return deny_in(call_pivot_root);
}

/* ---- mounts ---- */

SEC("lsm/move_mount")
int BPF_PROG(mount_moves)
{
	return deny_in(call_move_mount);
}

SEC("lsm/quotactl")
int BPF_PROG(quota_is_asked)
{
	return deny_in(call_quotactl);
}

static __always_inline int deny_of_file(s32 number, const struct file *file)
{
	struct report report = {};

	if (!ask(&report, number))
		return 0;
	report.text_is = text_file;
	report.text = (u64)file;
	return deny(&report);
}

SEC("lsm/file_open")
int BPF_PROG(file_is_opened, struct file *file)
{
	s32 number = current_call();

	return number == call_open_by_handle_at ? deny_of_file(number, file) : 0;
}

/* ---- identities ---- */

static __always_inline int deny_identity(s32 number, const struct cred *old, const struct cred *new)
{
	struct report report = {};

	if (!identities)
		return 0;
	report_call(&report, number);
	identity_of(&report.before, old);
	identity_of(&report.after, new);
	return is_changed(&report) ? deny(&report) : 0;
}

/* setfsuid, which has no error, is told of alone; and so is setfsgid. */
SEC("lsm/task_fix_setuid")
int BPF_PROG(user_changes, struct cred *new, const struct cred *old)
{
	s32 number = current_call();

	if (number != call_setuid && number != call_setreuid && number != call_setresuid)
		return 0;
	return deny_identity(number, old, new);
}

SEC("lsm/task_fix_setgid")
int BPF_PROG(group_changes, struct cred *new, const struct cred *old)
{
	s32 number = current_call();

	if (number != call_setgid && number != call_setregid && number != call_setresgid)
		return 0;
	return deny_identity(number, old, new);
}

SEC("lsm/capset")
int BPF_PROG(capabilities_change)
{
	return deny_in(call_capset);
}

SEC("lsm/task_prctl")
int BPF_PROG(process_is_controlled)
{
	return deny_in(call_prctl);
}

/* ---- what is asked for a capability before it does anything, and fails without it ---- */

static __always_inline bool stands_by(s32 number, s32 capability)
{
	switch (number) {
	case call_setns:
	case call_unshare: /* but for a namespace of users alone */
	case call_sethostname:
	case call_setdomainname:
	case call_open_tree: /* of a copy */
	case call_fsopen:
	case call_fsmount:
	case call_fspick:
	case call_mount_setattr:
	case call_swapon:
	case call_swapoff:
		return capability == CAP_SYS_ADMIN;
	case call_acct:
		return capability == CAP_SYS_PACCT;
	case call_delete_module:
		return capability == CAP_SYS_MODULE;
	case call_reboot:
		return capability == CAP_SYS_BOOT;
	case call_iopl:
	case call_ioperm:
		return capability == CAP_SYS_RAWIO;
	}
	return false;
}

/* Who lacks the capability fails before this is asked. */
SEC("lsm/capable")
int BPF_PROG(capability_is_asked, const struct cred *cred, struct user_namespace *over, s32 capability,
	     u32 options)
{
	s32 number = current_call();

	if (options & CAP_OPT_NOAUDIT || !stands_by(number, capability))
		return 0;
	return deny_call(number);
}

/* ---- the kernel ---- */

/* include/linux/kernel_read_file.h: the values are the running kernel's own */
enum kernel_load_data_id { LOADING_MODULE = 2, LOADING_KEXEC_IMAGE = 3 };
enum kernel_read_file_id {
	READING_MODULE = 2,
	READING_KEXEC_IMAGE = 3,
	READING_MODULE_COMPRESSED = 4, /* newer kernels */
};
#define IS_OF_KERNEL(id, type, name)               \
	(bpf_core_enum_value_exists(enum type, name) && \
	 (id) == bpf_core_enum_value(enum type, name))

/* A module that has begun may load firmware, in the same call. */
SEC("lsm/kernel_load_data")
int BPF_PROG(kernel_is_given, u32 id)
{
	s32 number = current_call();
	bool is_module = number == call_init_module &&
			 IS_OF_KERNEL(id, kernel_load_data_id, LOADING_MODULE);
	bool is_kernel = number == call_kexec_load &&
			 IS_OF_KERNEL(id, kernel_load_data_id, LOADING_KEXEC_IMAGE);

	return is_module || is_kernel ? deny_call(number) : 0;
}

SEC("lsm/kernel_read_file")
int BPF_PROG(kernel_reads, struct file *file, u32 id)
{
	s32 number = current_call();
	bool is_module = number == call_finit_module &&
			 (IS_OF_KERNEL(id, kernel_read_file_id, READING_MODULE) ||
			  IS_OF_KERNEL(id, kernel_read_file_id, READING_MODULE_COMPRESSED));
	bool is_kernel = number == call_kexec_file_load &&
			 IS_OF_KERNEL(id, kernel_read_file_id, READING_KEXEC_IMAGE);

	return is_module || is_kernel ? deny_of_file(number, file) : 0;
}

SEC("lsm/settime")
int BPF_PROG(clock_is_set)
{
	s32 number = current_call();

	return number == call_settimeofday || number == call_clock_settime ? deny_call(number) : 0;
}

SEC("lsm/syslog")
int BPF_PROG(log_is_asked)
{
	return deny_in(call_syslog);
}

/* ---- interfaces ---- */

/* A program of BPF may make such calls, too, within one that runs it. */
SEC("lsm/bpf")
int BPF_PROG(bpf_is_called, s32 command)
{
	s32 number = current_call();
	struct report report = {};

	if (number != call_bpf || !ask(&report, number) || (s32)report.request != command)
		return 0;
	return deny(&report);
}

SEC("lsm/perf_event_alloc")
int BPF_PROG(event_is_made)
{
	return deny_in(call_perf_event_open);
}

/* A file that has no place in a file system. */
SEC("lsm/inode_init_security_anon")
int BPF_PROG(file_is_made)
{
	s32 number = current_call();

	return number == call_userfaultfd || number == call_io_uring_setup ? deny_call(number) : 0;
}
