/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What no event would send: the sweep over all sockets with state, and the one
 * look at the sockets that were open before us.
 */

/* Whether the shard's worker was replaced: the new one knows nothing of this socket. Only the
 * sweep writes resync, and it runs once at a time.
 */
static __always_inline bool estats_is_unknown(struct estats_socket *s)
{
	u32 first = s->shard;
	struct estats_counters *c = counters.lookup(&first);

	return c && s->resync != (u8)c->resync;
}

static __always_inline void estats_made_known(struct estats_socket *s)
{
	u32 first = s->shard;
	struct estats_counters *c = counters.lookup(&first);

	if (c)
		s->resync = c->resync;
}

/* An event, or a gauge that moved without one. */
static __always_inline bool estats_has_news(struct tcp_sock *tp, struct estats_socket *s)
{
	return s->dirty || s->seen.write_seq != tp->write_seq ||
	       s->seen.copied_seq != tp->copied_seq || s->seen.snd_una != tp->snd_una;
}

/* Every namespace, without the sockets' locks: the hooks' state is copied, so
 * that a sample seen here is seen again, and counted once, by the next hook.
 * Writes one octet for each socket that has to wait for room in its ring.
 */
#ifdef ESTATS_MAKE_on_sweep
int on_sweep(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct estats_socket *s = ctx->value;
	struct estats_seen seen;
	struct tcp_sock *tp;
	u8 waiting = 1;

#ifdef ESTATS_HOOK_on_listeners
	estats_count_accepted(ctx->meta, sk, s);
#endif
	if (!sk || !estats_is_live(s))
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	/* Counted by the next hook, which holds the lock: together they could count it twice. */
	if (s->life == ESTATS_LIFE_PENDING && estats_is_left_out(s))
		return 0;
	estats_decide(tp, s);
	if (s->life != ESTATS_LIFE_LIVE || !(estats_has_news(tp, s) || estats_is_unknown(s)))
		return 0;
	if (estats_is_ring_busy(s)) {
		bpf_seq_write(ctx->meta->seq, &waiting, sizeof(waiting));
		return 0;
	}
	__builtin_memcpy(&seen, &s->seen, sizeof(seen));
	if (s->handshaken)
		estats_observe(&seen, tp);
	estats_send(tp, s, &seen, ESTATS_FLAG_SWEPT);
	estats_made_known(s);	/* a batch that found no room left it dirty */
	return 0;
}
#endif

/* The ids of all live connections: what is missing here has closed unseen. */
#ifdef ESTATS_MAKE_on_census
int on_census(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct estats_socket *s = ctx->value;

	if (!ctx->sk || !s || s->life != ESTATS_LIFE_LIVE)
		return 0;
	bpf_seq_write(ctx->meta->seq, &s->id, sizeof(s->id));
	return 0;
}
#endif

/* One network namespace. The first sweep sends what is made here. */
#ifdef ESTATS_MAKE_on_backfill
int on_backfill(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_sock *tp;
	u8 state;

	if (!skc)
		return 0;
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp)
		return 0;
	state = skc->skc_state;
#ifdef ESTATS_HOOK_on_listeners
	if (state == ESTATS_TCP_LISTEN)
		estats_listen((struct sock *)tp, ESTATS_FLAG_BACKFILL);
#endif
	if (state == ESTATS_TCP_LISTEN || state == ESTATS_TCP_CLOSE ||
	    state == ESTATS_TCP_SYN_RECV)
		return 0;
	estats_meet((struct sock *)tp, tp);
	return 0;
}
#endif
