// SPDX-License-Identifier: GPL-2.0
/* TCP connections: made, refused, accepted, listened for, ended.
 *
 * The kernel tells each change of a socket's state, but often in a softirq, where the current task is
 * whoever was interrupted. So a connection's owner is noted by the tasks that open one: at the start
 * of connect, and when accept returns. What nobody noted is its socket's: see owner_of_socket.
 */
#include "ancestors.h"
#include "socket.h"

enum kind {
	kind_connect = 1,
	kind_accept = 2,
	kind_close = 3,
	kind_listen = 4,
};
enum family {
	family_v4 = 4,
	family_v6 = 6,
};

struct event {
	struct subject who;
	enum kind kind;
	enum family family;
	ip_t saddr;
	ip_t daddr;
	port_t sport;
	port_t dport;
	port_t port;
	u16 pad;
	errno_t error;
	duration_t duration;
	bytes_t tx_bytes;
	bytes_t rx_bytes;
	u32 retransmits;
	ANCESTOR_COLUMNS;
};
enum { EVENT_TAIL = ANCESTORS_TAIL };

#include "chain.h"
#include "deny.h"
#include "event_ancestors.h"
#include "filter.h"

char LICENSE[] SEC("license") = "GPL";

const volatile bool connects = true;
const volatile bool accepts = true;
const volatile bool closes = true;
const volatile bool listens = true;
const volatile bool ipv4 = true;
const volatile bool ipv6 = true;
const volatile bool ancestors = true;

WHERE(kind);
WHERE(family);
WHERE(sport);
WHERE(dport);
WHERE(port);
WHERE(error);
WHERE(duration);

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
	TCP_CLOSING = 11,
};

enum { IPPROTO_TCP = 6 }; /* include/uapi/linux/in.h */
enum { SOCK_DONE = 1 };	  /* include/net/sock.h: the number of the flag that a FIN came */
enum { ECANCELED = 125 };	  /* include/uapi/asm-generic/errno.h */

/* ---- what is known of the connections that are open ---- */

enum phase {
	phase_connecting = 1,
	phase_crossing,	 /* likewise, and the other end connects to this one at the same time */
	phase_connected, /* by this end */
	phase_waiting,	 /* made by the other end, not accepted yet */
	phase_accepted,
};
struct connection {
	struct owner owner;
	boot_ns_t since; /* the start of connect, then when it was established */
	u32 phase;	 /* enum phase */
	u32 pad;
};

/* By the address of its struct sock. When it is full, the one not touched for longest goes: its end
 * is then told as its socket's owner's, and not how long it had lived. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct connection);
} connections SEC(".maps");

/* ---- the two ends ---- */

struct ends {
	ip_t saddr __attribute__((aligned(8)));
	ip_t daddr __attribute__((aligned(8)));
	port_t sport, dport;
	enum family family;
};

static __always_inline bool is_mapped(const u8 *address)
{
	return !*(u64 *)address && *(u32 *)(address + 8) == bpf_htonl(0xffff);
}

/* A socket of IPv6 that carries IPv4 counts as what it carries. False: neither of the two. */
static __always_inline bool ends_of(struct ends *ends, struct sock *sk)
{
	u16 family = socket_family(sk);

	ends->sport = bpf_ntohs(READ(struct inet_sock, sk, inet_sport));
	ends->dport = bpf_ntohs(READ(struct sock, sk, __sk_common.skc_dport));
	ends->family = family_v4;
	if (family == AF_INET) {
		map_to_v6(ends->saddr, READ(struct sock, sk, __sk_common.skc_rcv_saddr));
		map_to_v6(ends->daddr, READ(struct sock, sk, __sk_common.skc_daddr));
		return true;
	}
	if (family != AF_INET6 || !bpf_core_field_exists(sk->__sk_common.skc_v6_daddr))
		return false;
	BPF_CORE_READ_INTO(&ends->saddr, sk, __sk_common.skc_v6_rcv_saddr);
	BPF_CORE_READ_INTO(&ends->daddr, sk, __sk_common.skc_v6_daddr);
	if (!is_mapped(ends->daddr) && !is_mapped(ends->saddr))
		ends->family = family_v6;
	return true;
}

/* ---- rows ---- */

struct report {
	struct owner owner;
	struct ends ends;
	enum kind kind;
	enum phase phase; /* of a connection that ended; 0: not known */
	errno_t error;
	u32 retransmits;
	duration_t duration;
	bytes_t tx_bytes, rx_bytes;
	bool refused; /* see refused.h */
};

/* Which of the two ports is the one that was connected to. 0: not known. */
static __always_inline port_t port_of(const struct report *report)
{
	if (report->kind == kind_connect || report->phase == phase_connected)
		return report->ends.dport;
	return report->kind == kind_close && !report->phase ? 0 : report->ends.sport;
}

static __always_inline bool are_wanted(const struct ends *ends, port_t port)
{
	return (ends->family == family_v4 ? ipv4 : ipv6) && within(&where_family, ends->family) &&
	       within(&where_sport, ends->sport) && within(&where_dport, ends->dport) &&
	       within(&where_port, port);
}

static __always_inline void fill(struct event *event, const struct report *report, port_t port)
{
	const struct ends *ends = &report->ends;

	event->kind = report->kind;
	event->family = ends->family;
	__builtin_memcpy(event->saddr, ends->saddr, sizeof(ip_t));
	__builtin_memcpy(event->daddr, ends->daddr, sizeof(ip_t));
	event->sport = ends->sport;
	event->dport = ends->dport;
	event->port = port;
	event->pad = 0;
	event->error = report->error;
	event->duration = report->duration;
	event->tx_bytes = report->tx_bytes;
	event->rx_bytes = report->rx_bytes;
	event->retransmits = report->retransmits;
}

/* Sends it, if it is wanted. Global: see lose_for_job in match.h. */
__weak int tell(const struct report *report)
{
	struct match match = {};

	if (!report || !match_owner(&match, &report->owner))
		return 0;
	if (!within(&where_kind, report->kind) || !within(&where_error, report->error) ||
	    !within(&where_duration, report->duration))
		return 0;
	port_t port = port_of(report);

	if (!are_wanted(&report->ends, port) || !event_admit(&match))
		return 0;
	struct event *event = event_begin(&match);

	if (!event)
		return 0;
	fill(event, report, port);
	if (ancestors)
		event_ancestors_of(event, &report->owner);
	else
		no_ancestors(event);
	match.refused = report->refused;
	return event_send(&match);
}

static __always_inline bool is_watched(const struct owner *owner)
{
	struct match match = {};

	return match_cgroup(&match, owner->cgroup_id);
}

/* Adds the two ends, and as the owner, where none is known, what the socket itself tells. */
static __always_inline void tell_of(struct sock *sk, struct report *report)
{
	if (!report->owner.cgroup_id)
		owner_of_socket(&report->owner, sk);
	if (!report->owner.cgroup_id)
		count_unclassified();
	else if (is_watched(&report->owner) && ends_of(&report->ends, sk))
		tell(report);
}

/* ---- changes of state ---- */

/* Takes a copy of what is known: the entry may go to another socket at any time. */
static __always_inline bool look_up(struct connection *copy, u64 key)
{
	struct connection *found = bpf_map_lookup_elem(&connections, &key);

	if (!found) {
		__builtin_memset(copy, 0, sizeof(*copy));
		return false;
	}
	*copy = *found;
	return true;
}

/* Notes a connection whose owner is known, if that one's cgroup is watched, whatever other
 * conditions say: nothing may be told of it as of one whose process is not known. */
static __always_inline void note(u64 key, struct connection *connection)
{
	connection->since = bpf_ktime_get_boot_ns();
	if (is_watched(&connection->owner))
		bpf_map_update_elem(&connections, &key, connection, BPF_ANY);
	else
		bpf_map_delete_elem(&connections, &key);
}

static __always_inline void set_phase(u64 key, u32 phase)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, &key);

	if (connection)
		connection->phase = phase;
}

static __always_inline u32 phase_of(u64 key)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, &key);

	return connection ? connection->phase : 0;
}

static __always_inline void go_out(struct sock *sk)
{
	struct connection connection = {.phase = phase_connecting};

	owner_current(&connection.owner);
	note((u64)sk, &connection);
}

/* Noted as soon as the socket is made: once it can be accepted, that may happen at any time, even
 * before the connection is established. */
static __always_inline void came_in(struct sock *sk)
{
	struct connection connection = {.phase = phase_waiting};

	owner_of_socket(&connection.owner, sk);
	note((u64)sk, &connection);
}

/* The functions that follow fill the report, and say whether it is to be told. */

static __always_inline bool connected(struct report *report, struct sock *sk)
{
	struct connection connection;

	report->kind = kind_connect;
	if (look_up(&connection, (u64)sk)) {
		u64 began = connection.since;

		connection.phase = phase_connected;
		note((u64)sk, &connection);
		report->owner = connection.owner;
		report->duration = connection.since - began;
	}
	return connects;
}

/* One that could not even send a SYN is told at the end of the call, see could_not_send: only there
 * is its error known. Any other that ends without an error was given up by its own process. */
static __always_inline bool not_connected(struct report *report, struct tcp_sock *tcp)
{
	report->kind = kind_connect;
	if (!report->error)
		report->error = ECANCELED;
	return connects && tcp->write_seq;
}

/* The kernel counts a SYN and a FIN as one byte each, sent or received. */
static __always_inline bool ended(struct report *report, struct tcp_sock *tcp, struct sock *sk,
				  s32 old, u32 phase)
{
	bool fin_sent = old == TCP_FIN_WAIT1 || old == TCP_FIN_WAIT2 || old == TCP_CLOSING ||
			old == TCP_LAST_ACK;
	bool fin_acknowledged = fin_sent && tcp->snd_una == tcp->write_seq;
	bool fin_received = READ(struct sock, sk, __sk_common.skc_flags) & 1 << SOCK_DONE;
	u64 sent = tcp->bytes_sent - tcp->bytes_retrans, acknowledged = tcp->bytes_acked;
	u64 others = fin_acknowledged + (phase == phase_connected);

	acknowledged -= acknowledged < others ? acknowledged : others;
	report->kind = kind_close;
	/* More than was sent: the SYN of a connection older than the tracker. */
	report->tx_bytes = acknowledged < sent ? acknowledged : sent;
	report->rx_bytes = tcp->bytes_received;
	if (report->rx_bytes)
		report->rx_bytes -= fin_received;
	return closes;
}

static __always_inline bool closed(struct report *report, struct tcp_sock *tcp, struct sock *sk,
				   s32 old)
{
	u64 key = (u64)sk;
	struct connection connection;
	bool made;

	if (look_up(&connection, key)) {
		bpf_map_delete_elem(&connections, &key);
		report->owner = connection.owner;
		report->phase = connection.phase;
		report->duration = bpf_ktime_get_boot_ns() - connection.since;
	}
	report->error = READ(struct sock, sk, sk_err);
	made = old != TCP_SYN_RECV || connection.phase == phase_accepted;
	if (old == TCP_LISTEN || !made)
		return false;
	return old == TCP_SYN_SENT ? not_connected(report, tcp)
				   : ended(report, tcp, sk, old, connection.phase);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(state_changed, struct sock *sk, s32 old, s32 new)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct report report = {};
	bool told = false;

	if (!tcp)
		return 0;
	report.retransmits = tcp->total_retrans;
	switch (new) {
	case TCP_SYN_SENT:
		go_out(sk);
		break;
	case TCP_SYN_RECV:
		if (old == TCP_SYN_SENT)
			set_phase((u64)sk, phase_crossing);
		else
			came_in(sk);
		break;
	case TCP_ESTABLISHED:
		if (old == TCP_SYN_SENT || phase_of((u64)sk) == phase_crossing)
			told = connected(&report, sk);
		break;
	case TCP_LISTEN:
		report.kind = kind_listen;
		owner_current(&report.owner);
		told = listens;
		break;
	case TCP_CLOSE:
		told = closed(&report, tcp, sk, old);
		break;
	}
	if (told)
		tell_of(sk, &report);
	return 0;
}

/* ---- ends of calls ---- */

/* Whoever accepts a connection owns it from then on, even where that one is not watched. */
static __always_inline void accepted(struct sock *sk)
{
	u64 key = (u64)sk;
	struct report report = {.kind = kind_accept};
	struct connection *connection = bpf_map_lookup_elem(&connections, &key);

	owner_current(&report.owner);
	if (connection) {
		connection->owner = report.owner;
		connection->phase = phase_accepted;
		report.duration = bpf_ktime_get_boot_ns() - connection->since;
	} else if (READ(struct sock, sk, __sk_common.skc_state) != TCP_CLOSE) {
		struct connection fresh = {.owner = report.owner, .phase = phase_accepted};

		note(key, &fresh);
	}
	if (accepts)
		tell_of(sk, &report);
}

/* include/uapi/linux/in.h, in6.h: sockaddr_in and sockaddr_in6 in one */
struct address {
	u16 family;
	u16 port;
	u32 ipv4;
	u8 ipv6[16];
};

/* The two ends that a connection would have. */
static __always_inline void ends_towards(struct ends *ends, struct sock *sk,
					 const struct address *to)
{
	ends_of(ends, sk);
	ends->dport = bpf_ntohs(to->port);
	if (to->family == AF_INET6)
		__builtin_memcpy(ends->daddr, to->ipv6, sizeof(to->ipv6));
	else
		map_to_v6(ends->daddr, to->ipv4);
	ends->family = is_mapped(ends->daddr) ? family_v4 : family_v6;
}

/* A socket that has no sequence number yet has never sent a SYN: nothing was told of it yet. */
static __always_inline void could_not_send(struct sock *sk, s64 error, const struct address *to)
{
	struct report report = {.kind = kind_connect, .error = error};
	struct ends *ends = &report.ends;

	if (READ(struct sock, sk, __sk_common.skc_state) != TCP_CLOSE ||
	    READ(struct tcp_sock, sk, write_seq))
		return;
	owner_current(&report.owner);
	ends_towards(ends, sk, to);
	report.refused = is_refused_call(error);
	tell(&report);
}

/* ---- the same on kernels that have these hooks: other system calls cost nothing ---- */

/* Older kernels take a program at a function's end only if it returns a constant 0. */

SEC("fexit/inet_csk_accept")
int accept_returns(u64 *arguments)
{
	u64 sk = 0;

	bpf_get_func_ret(arguments, &sk);
	if (sk)
		accepted((struct sock *)sk);
	return 0;
}

static __always_inline void connect_returned(struct sock *sk, const void *from, s32 result)
{
	struct address to = {};

	if (!connects || !result)
		return;
	bpf_probe_read_kernel(&to, sizeof(to), from);
	could_not_send(sk, -result, &to);
}

SEC("fexit/tcp_v4_connect")
int BPF_PROG(connect_v4_returns, struct sock *sk, void *to, s32 length, s32 result)
{
	/* The other function calls this one for an address of IPv4. */
	if (sk->__sk_common.skc_family == AF_INET)
		connect_returned(sk, to, result);
	return 0;
}

SEC("fexit/tcp_v6_connect")
int BPF_PROG(connect_v6_returns, struct sock *sk, void *to, s32 length, s32 result)
{
	connect_returned(sk, to, result);
	return 0;
}

/* ---- and on those that have not ---- */

static __always_inline struct sock *tcp_of_descriptor(s32 fd)
{
	struct sock *sk = socket_of_descriptor(fd);

	if (!sk || READ(struct sock, sk, sk_protocol) != IPPROTO_TCP)
		return NULL;
	u16 family = socket_family(sk);

	return family == AF_INET || family == AF_INET6 ? sk : NULL;
}

static __always_inline void accept_ended(s64 fd)
{
	struct sock *sk = fd < 0 ? NULL : tcp_of_descriptor(fd);

	if (sk)
		accepted(sk);
}

static __always_inline void connect_ended(struct pt_regs *regs, s64 result)
{
	struct call_arguments call;
	struct address to = {};

	if (!connects || !is_error(result))
		return;
	call_arguments_meant(&call, regs);
	struct sock *sk = tcp_of_descriptor(call.of[0]);

	bpf_probe_read_user(&to, sizeof(to), (const void *)call.of[1]);
	if (sk)
		could_not_send(sk, -result, &to);
}

#if defined(__TARGET_ARCH_x86)
enum number { call_connect = 42, call_accept = 43, call_accept4 = 288 };
#else
enum number { call_connect = 203, call_accept = 202, call_accept4 = 242 };
#endif

const volatile u8 chained_calls[CHAINED_CALLS] = {
	[call_connect] = true,
	[call_accept] = true,
	[call_accept4] = true,
};

static __always_inline void call_ended(struct pt_regs *regs, s64 result)
{
	s32 number = call_number(regs);

	if (number == call_connect)
		connect_ended(regs, result);
	else if (number == call_accept || number == call_accept4)
		accept_ended(result);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_ends, struct pt_regs *regs, long result)
{
	call_ended(regs, result);
	return chain_go_on(ctx, call_number(regs));
}

/* ---- what is refused before it is done ---- */

enum { IPPROTO_MPTCP = 262 };	    /* include/uapi/linux/in.h */
enum { AF_SMC = 43 };		    /* include/linux/socket.h */
enum { MSG_FASTOPEN = 0x20000000 }; /* likewise */

/* Whether it connects by TCP, be it by several connections or to begin with only. */
static __always_inline bool connects_by_tcp(const struct sock *sk)
{
	u16 family = socket_family(sk), protocol = READ(struct sock, sk, sk_protocol);

	if (family == AF_INET || family == AF_INET6)
		return protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP;
	return family == AF_SMC;
}

static __always_inline void fill_refused(struct event *event, const struct report *report)
{
	fill(event, report, report->ends.dport);
	if (ancestors)
		event_ancestors(event);
	else
		no_ancestors(event);
}

static __always_inline void tell_refused(struct match *match, const struct report *report)
{
	u64 turn = turn_begin();
	struct event *event = event_begin(match);

	if (!event)
		return;
	fill_refused(event, report);
	event_send_in_turn(match, turn);
}

/* Whether a connection that it has, or is about to have, is the one that is asked for. Both are compared,
 * since a process can make connections to itself from a port that it may not connect to. */
static __always_inline bool is_connected_so(struct sock *sk, const struct ends *asked)
{
	struct ends present = {};
	const u64 *here = (const void *)present.daddr, *there = (const void *)asked->daddr;

	return ends_of(&present, sk) && present.dport == asked->dport && here[0] == there[0] &&
	       here[1] == there[1];
}

/* A socket that is connected, or about to be, to where it is asked to connect is asked what became of that.
 * To anywhere else it fails now, but need not once another thread has disconnected it meanwhile. */
static __always_inline int deny_connect(struct socket *socket, const void *address)
{
	struct match match = {};
	struct report report = {.kind = kind_connect};
	struct address to = {};
	struct sock *sk = socket->sk;

	if (!connects || !within(&where_kind, kind_connect) || !within(&where_error, 0) ||
	    !within(&where_duration, 0) || !match_deed(&match) || !sk || !connects_by_tcp(sk))
		return 0;
	bpf_probe_read_kernel(&to, sizeof(to), address);
	if (to.family != AF_INET && to.family != AF_INET6)
		return 0;
	ends_towards(&report.ends, sk, &to);
	if (!are_wanted(&report.ends, report.ends.dport) ||
	    (socket->state != SS_UNCONNECTED && is_connected_so(sk, &report.ends)) ||
	    (filters && !wanted_in_turn(&match, event, fill_refused(event, &report))))
		return 0;
	event_admit(&match);
	report.error = match.enforced ? EPERM : 0;
	if (match.jobs)
		tell_refused(&match, &report);
	return refusal(match.enforced);
}

SEC("lsm/socket_connect")
int BPF_PROG(is_connected, struct socket *socket, const void *address)
{
	return deny_connect(socket, address);
}

/* The first bytes may go with a connection that they make: tcp(7), TCP_FASTOPEN. */
SEC("lsm/socket_sendmsg")
int BPF_PROG(is_sent, struct socket *socket, struct msghdr *message)
{
	if (!(message->msg_flags & MSG_FASTOPEN) || !message->msg_name)
		return 0;
	return deny_connect(socket, message->msg_name);
}
