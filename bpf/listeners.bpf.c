/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Listening sockets. A listener has a mark in its storage, which its children
 * inherit: that is how they know whose they are, also where several listen at
 * one port. What is counted lies in a map that parent and children can reach.
 */

#ifdef ESTATS_HOOK_on_listeners

/* The mark of a listener, and of its child until that is established. */
struct estats_mark {
	u64 listener;		/* its cookie, the key of "listened" */
	u64 is_counted;		/* of a child: it is one of "children" */
};

/* BCC's macro for storage has no way to say CLONE. */
struct listening_table_t {
	int key;
	struct estats_mark leaf;
	void *(*sk_storage_get)(void *, void *, int);
	int (*sk_storage_delete)(void *);
	u32 flags;
};
__attribute__((section("maps/sk_storage"))) struct listening_table_t listening = {
	.flags = ESTATS_MAP_NO_PREALLOC | ESTATS_MAP_CLONE,
};
BPF_ANNOTATE_KV_PAIR(listening, int, struct estats_mark);

struct estats_listened {
	u64 start_ns;
	u64 pid_start_ns;
	u64 syns;
	u64 initial;
	u64 established;
	u64 children;		/* sockets made of its handshakes and not given up since */
	u64 accepted;
	u64 exceeded;
	u64 sweep;		/* which sweep counted conns */
	u32 conns;
	u32 waiting;		/* in the accept queue when it was found */
	u32 flags;		/* enum estats_flag */
	u32 pid;
	char comm[16];
};

/* A handshake whose SYN-ACK was seen: repeated, it has the same sequence number. */
struct estats_request {
	u64 listener;
	u32 seq;		/* network order, as the port */
	u16 port;
	u16 unused;
};

/* What a listener is called once it has closed: it may listen again. */
struct estats_listener_name {
	u64 cookie;
	u64 start_ns;
};

BPF_F_TABLE("hash", u64, struct estats_listened, listened, ESTATS_LISTENERS_MAX,
	    ESTATS_MAP_NO_PREALLOC);
BPF_F_TABLE("hash", struct estats_listener_name, struct estats_listener_row, closed_listeners,
	    ESTATS_LISTENERS_MAX, ESTATS_MAP_NO_PREALLOC);
BPF_F_TABLE("lru_hash", struct estats_request, u8, requests, ESTATS_REQUESTS_MAX, 0);
BPF_ARRAY(listener_blank, struct estats_listened, 1);
/* Where a last row is made: the stack of who closes is full. */
BPF_PERCPU_ARRAY(listener_last, struct estats_listener_row, 1);
BPF_ARRAY(newest_sweep, u64, 1);

static __always_inline void estats_listener_untracked(void)
{
	struct estats_counters *c = estats_count(0);

	if (c)
		__sync_fetch_and_add(&c->untracked, 1);
}

/* A socket begins to listen, in the context of who called listen(); or it was found. */
static __always_inline void estats_listen(struct sock *sk, u32 flags)
{
	struct task_struct *leader = bpf_get_current_task_btf()->group_leader;
	struct estats_listened *l, *blank;
	struct estats_mark *mark;
	u32 zero = 0;
	u64 cookie;

	blank = listener_blank.lookup(&zero);
	mark = listening.sk_storage_get(sk, 0, ESTATS_SK_STORAGE_CREATE);
	if (!mark || !blank) {
		estats_listener_untracked();
		return;
	}
	if (mark->listener)	/* both the event and the look at what was there before */
		return;
	cookie = bpf_get_socket_cookie(sk);
	listened.update(&cookie, blank);
	l = listened.lookup(&cookie);
	if (!l) {
		estats_listener_untracked();
		return;
	}
	l->start_ns = bpf_ktime_get_ns();
	l->flags = flags;
	if (flags & ESTATS_FLAG_BACKFILL) {
		l->waiting = sk->sk_ack_backlog;
	} else {
		l->flags |= ESTATS_FLAG_OWNER;
		l->pid = bpf_get_current_pid_tgid() >> 32;
		l->pid_start_ns = leader->start_boottime;
		bpf_probe_read_kernel_str(l->comm, sizeof(l->comm), leader->comm);
	}
	mark->listener = cookie;
}

/* RFC 4022: unknown is who takes IPv4 and IPv6 alike. */
static __always_inline u32 estats_address_type(struct sock *sk, struct estats_identity *who)
{
	u64 *local = (u64 *)who->local_address;

	if (sk->__sk_common.skc_family != ESTATS_AF_INET6)
		return 1;
	if (!local[0] && (u32)local[1] == bpf_htonl(0xffff))
		return 1;
	return local[0] | local[1] || sk->__sk_common.skc_ipv6only ? 2 : 0;
}

static __always_inline void estats_fill_endpoint(struct estats_listener_row *r, struct tcp_sock *tp,
						 struct estats_listened *l, u64 cookie)
{
	struct estats_identity *who = &r->identity;
	struct sock *sk = estats_sock(tp);
	struct net *net = sk->__sk_common.skc_net.net;
	struct cgroup *cgroup = sk->sk_cgrp_data.cgroup;

	who->cookie = cookie;
	who->start_ns = l->start_ns;
	who->cgroup = cgroup ? cgroup->kn->id : 0;
	who->netns = net->ns.inum;
	who->uid = sk->sk_uid.val;
	who->pid = l->pid;
	who->pid_start_ns = l->pid_start_ns;
	__builtin_memcpy(who->comm, l->comm, sizeof(who->comm));
	r->head.flags = l->flags;
	estats_fill_tuple(who, tp);
	r->head.address_type = estats_address_type(sk, who);
}

/*
 * Both differences are read so that what is on its way between two queues
 * makes them too small, never too large: the accept queue is filled before
 * "established" grows, and "children" grows before a request leaves its queue.
 */
static __always_inline void estats_fill_listener(struct estats_listener *b, struct tcp_sock *tp,
						 struct estats_listened *l, u64 closed_ns)
{
	volatile struct estats_listened *now = l;
	u64 initial = now->initial, established = now->established;
	u32 half_open = *(volatile int *)&tp->inet_conn.icsk_accept_queue.qlen.counter;
	u64 children = now->children;
	u32 waiting = estats_sock(tp)->sk_ack_backlog;
	s64 accepted = established + l->waiting - waiting;
	/* Who leaves throws out all that still waits. */
	s64 exceeded = initial - children - half_open + (closed_ns ? half_open + waiting : 0);

	if (accepted > (s64)l->accepted)
		l->accepted = accepted;
	if (exceeded > (s64)l->exceeded)
		l->exceeded = exceeded;
	b->known = 0;
	ESTATS_PUT(b, listener, start_time, l->flags & ESTATS_FLAG_BACKFILL ? 0 : l->start_ns);
	ESTATS_PUT(b, listener, hc_syn_rcvd, l->syns);
	ESTATS_PUT(b, listener, hc_initial, initial);
	ESTATS_PUT(b, listener, hc_established, established);
	ESTATS_PUT(b, listener, hc_accepted, l->accepted);
	ESTATS_PUT(b, listener, hc_exceed_backlog, l->exceeded);
	ESTATS_PUT(b, listener, max_backlog, estats_sock(tp)->sk_max_ack_backlog);
	ESTATS_PUT(b, listener, cur_backlog, closed_ns ? 0 : half_open + waiting);
	ESTATS_PUT(b, listener, cur_estab_backlog, closed_ns ? 0 : waiting);
	ESTATS_PUT(b, listener, socket_drops, estats_sock(tp)->sk_drops.counter);
}

static __always_inline bool estats_wants_listener(struct estats_identity *who,
						  struct estats_listened *l)
{
	/* Without a port it has not got its place yet. */
	if (!who->local_port || !estats_wants_tuple(who))
		return false;
	if (!ESTATS_FILTERS_OWNER)
		return true;
	return l->flags & ESTATS_FLAG_OWNER && estats_wants_owner(l->pid, l->comm);
}

/* The last row, for user space to fetch and remove. No room for it is a loss. */
static __always_inline void estats_unlisten(struct sock *sk, struct tcp_sock *tp)
{
	struct estats_mark *mark = listening.sk_storage_get(sk, 0, 0);
	struct estats_counters *c = estats_count(0);
	struct estats_listener_name name = {};
	struct estats_listener_row *r;
	struct estats_listened *l;
	u32 zero = 0;

	name.cookie = bpf_get_socket_cookie(sk);
	if (!mark || mark->listener != name.cookie)
		return;
	listening.sk_storage_delete(sk);
	l = listened.lookup(&name.cookie);
	r = listener_last.lookup(&zero);
	if (!l || !r || !c)
		return;
	name.start_ns = l->start_ns;
	__builtin_memset(r, 0, sizeof(*r));	/* its padding, too */
	r->head.closed_ns = bpf_ktime_get_ns();
	estats_fill_endpoint(r, tp, l, name.cookie);
	estats_fill_listener(&r->listener, tp, l, r->head.closed_ns);
	if (estats_wants_listener(&r->identity, l) && closed_listeners.update(&name, r))
		__sync_fetch_and_add(&c->lost_finals, 1);
	listened.delete(&name.cookie);
}

/* A socket ends that was not seen to cease to listen. Its queue is empty by now, so its
 * last row stays the one of the last look.
 */
static __always_inline void estats_listener_gone(struct sock *sk)
{
	struct estats_mark *mark = listening.sk_storage_get(sk, 0, 0);
	u64 cookie;

	if (!mark)
		return;
	cookie = mark->listener;
	if (cookie == bpf_get_socket_cookie(sk))
		listened.delete(&cookie);
}

/* To or from LISTEN; a child is made as a copy of its parent, state and all. */
static __always_inline void estats_listener_changed(struct sock *sk, u8 state)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct estats_listened *l;
	struct estats_mark *mark;
	u64 listener;

	if (!tp)
		return;
	if (state == ESTATS_TCP_LISTEN) {
		estats_listen(sk, 0);
		return;
	}
	if (state != ESTATS_TCP_SYN_RECV) {
		estats_unlisten(sk, tp);
		return;
	}
	mark = listening.sk_storage_get(sk, 0, 0);
	if (!mark)
		return;
	listener = mark->listener;
	l = listened.lookup(&listener);
	if (!l)
		return;
	__sync_fetch_and_add(&l->children, 1);
	mark->is_counted = 1;
}

/* A child has left SYN_RECV: it counts, and bears its parent's name in its own state. */
static __always_inline void estats_child_came(struct sock *sk, struct tcp_sock *tp,
					      struct estats_mark *mark, u8 state)
{
	struct estats_request request = { .listener = mark->listener };
	struct estats_socket *s = sockets.sk_storage_get(sk, 0, 0);
	struct estats_listened *l;

	l = listened.lookup(&request.listener);
	/* Its own: a listener whose end went unseen connects. */
	if (!l || request.listener == bpf_get_socket_cookie(sk))
		return;
	if (state == ESTATS_TCP_CLOSE) {
		if (mark->is_counted)
			__sync_fetch_and_add(&l->children, -1);
		return;
	}
	if (s)
		s->listener = request.listener;
	if (!mark->is_counted) {	/* it may have been taken for one thrown out */
		__sync_fetch_and_add(&l->children, 1);
		if (l->exceeded)
			l->exceeded--;
	}
	request.seq = bpf_htonl(tp->snd_una - (u32)tp->bytes_acked - 1);
	request.port = sk->__sk_common.skc_dport;
	/* A SYN cookie and Fast Open have no request that a SYN-ACK could have told of. */
	if (requests.lookup(&request))
		requests.delete(&request);
	else
		__sync_fetch_and_add(&l->initial, 1);
	/* Fast Open may be closed before it is established. */
	if (state != ESTATS_TCP_FIN_WAIT1)
		__sync_fetch_and_add(&l->established, 1);
}

/* Any change of state of a connection: one that still has the mark has just come. */
static __always_inline void estats_child_changed(struct sock *sk, struct tcp_sock *tp, u8 old_state,
						 u8 state)
{
	struct estats_mark *mark = listening.sk_storage_get(sk, 0, 0);

	if (!mark)
		return;
	/* The change before this one went unseen. */
	if (old_state != ESTATS_TCP_SYN_RECV)
		state = ESTATS_TCP_ESTABLISHED;
	estats_child_came(sk, tp, mark, state);
	listening.sk_storage_delete(sk);
}

/* A segment to or from a socket in LISTEN: all of a handshake passes here. */
static __always_inline void estats_listener_segment(struct bpf_sock *sk, struct tcphdr *th)
{
	struct estats_request request = {};
	struct estats_listened *l;
	struct estats_mark *mark;
	u8 one = 1;

	if (!th->syn || th->rst)
		return;
	mark = listening.sk_storage_get(sk, 0, 0);
	if (!mark)
		return;
	request.listener = mark->listener;
	l = listened.lookup(&request.listener);
	if (!l)
		return;
	if (!th->ack) {
		__sync_fetch_and_add(&l->syns, 1);
		return;
	}
	request.seq = th->seq;
	request.port = th->dest;
	if (!requests.lookup(&request)) {
		requests.update(&request, &one);
		__sync_fetch_and_add(&l->initial, 1);
	}
}

/* The sweep sees all children: those with a file have been accepted. */
static __always_inline void estats_count_accepted(struct bpf_iter_meta *meta, struct sock *sk,
						  struct estats_socket *s)
{
	struct estats_listened *l;
	u64 *newest, listener;
	u32 zero = 0;

	newest = newest_sweep.lookup(&zero);
	if (!newest)
		return;
	*newest = meta->session_id;
	if (!sk || !s || !s->listener || !sk->sk_socket ||
	    sk->__sk_common.skc_state != ESTATS_TCP_ESTABLISHED)
		return;
	listener = s->listener;
	l = listened.lookup(&listener);
	if (!l)
		return;
	if (l->sweep != meta->session_id) {
		l->sweep = meta->session_id;
		l->conns = 0;
	}
	l->conns++;
}

/* All listeners of all network namespaces: a row of each. A child here is one whose
 * entry into ESTABLISHED went unseen.
 */
#ifdef ESTATS_MAKE_on_listeners
int on_listeners(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct estats_mark *mark = ctx->value;
	struct estats_listener_row row;
	struct estats_listened *l;
	struct tcp_sock *tp;
	u64 cookie, *newest;
	u32 zero = 0;
	u8 state;

	if (!sk || !mark)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	state = sk->__sk_common.skc_state;
	cookie = mark->listener;
	if (!tp || !cookie || state == ESTATS_TCP_SYN_RECV)
		return 0;
	if (state != ESTATS_TCP_LISTEN) {
		if (state != ESTATS_TCP_CLOSE) {
			estats_child_came(estats_sock(tp), tp, mark, ESTATS_TCP_ESTABLISHED);
			mark->listener = 0;
		}
		return 0;
	}
	l = listened.lookup(&cookie);
	newest = newest_sweep.lookup(&zero);
	if (!l || !newest)
		return 0;
	__builtin_memset(&row, 0, sizeof(row));	/* its padding, too */
	estats_fill_endpoint(&row, tp, l, cookie);
	if (!estats_wants_listener(&row.identity, l))
		return 0;
	estats_fill_listener(&row.listener, tp, l, 0);
	ESTATS_PUT(&row.listener, listener, cur_conns, l->sweep == *newest ? l->conns : 0);
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}
#endif

#endif
