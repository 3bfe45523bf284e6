/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes a batch: what the catalogue calls "collected", one function for each
 * table. A variable that is not put stays unknown (NULL), whatever it holds.
 */

#define ESTATS_PUT(block, table, column, value)					\
	do {									\
		(block)->column = (value);					\
		(block)->known |= 1ULL << ESTATS_BIT_##table##_##column;	\
	} while (0)

enum { ESTATS_TRUE = 1, ESTATS_FALSE = 2 };	/* SMIv2 TruthValue */
enum { ESTATS_ENABLED = 1, ESTATS_SELF_DISABLED = 2, ESTATS_PEER_DISABLED = 3 };

/* Addresses as 16 octets, IPv4 (v4-mapped sockets too) as ::ffff:a.b.c.d. */
static __always_inline u32 estats_fill_addresses(struct estats_identity *who, struct sock *sk)
{
	struct sock_common *skc = &sk->__sk_common;
	u32 *local = (u32 *)who->local_address, *rem = (u32 *)who->rem_address;
	u32 mapped = bpf_htonl(0xffff);

	if (skc->skc_family == ESTATS_AF_INET6) {
		local[0] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[0];
		local[1] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[1];
		local[2] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[2];
		local[3] = skc->skc_v6_rcv_saddr.in6_u.u6_addr32[3];
		rem[0] = skc->skc_v6_daddr.in6_u.u6_addr32[0];
		rem[1] = skc->skc_v6_daddr.in6_u.u6_addr32[1];
		rem[2] = skc->skc_v6_daddr.in6_u.u6_addr32[2];
		rem[3] = skc->skc_v6_daddr.in6_u.u6_addr32[3];
		return !(rem[0] | rem[1]) && rem[2] == mapped ? ESTATS_FLAG_IPV4 : 0;
	}
	local[0] = local[1] = rem[0] = rem[1] = 0;
	local[2] = rem[2] = mapped;
	local[3] = skc->skc_rcv_saddr;
	rem[3] = skc->skc_daddr;
	return ESTATS_FLAG_IPV4;
}

/* Ports and addresses; the answer is the flag of the wire's IP version. */
static __always_inline u32 estats_fill_tuple(struct estats_identity *who, struct tcp_sock *tp)
{
	/* skc_num is 0 again by the time of the CLOSE event: inet_sport stays. */
	who->local_port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
	who->rem_port = bpf_ntohs(estats_sock(tp)->__sk_common.skc_dport);
	return estats_fill_addresses(who, estats_sock(tp));
}

static __always_inline u32 estats_fill_identity(struct estats_identity *who, struct tcp_sock *tp,
						struct estats_socket *s)
{
	struct sock *sk = estats_sock(tp);
	struct net *net = sk->__sk_common.skc_net.net;
	struct cgroup *cgroup = sk->sk_cgrp_data.cgroup;

	who->cookie = s->id ^ (u64)s->generation << 56 ^ (u64)s->admission << 40;
	who->start_ns = s->start_ns;
	who->cgroup = cgroup ? cgroup->kn->id : 0;
	who->netns = net->ns.inum;
	who->uid = sk->sk_uid.val;
	who->pid = s->pid;
	who->pid_start_ns = s->pid_start_ns;
	__builtin_memcpy(who->comm, s->comm, sizeof(who->comm));
	return estats_fill_tuple(who, tp);
}

static __always_inline u64 estats_last_ns(struct tcp_sock *tp, struct estats_socket *s)
{
	return estats_max(tp->tcp_mstamp * 1000, s->start_ns);
}

static __always_inline void estats_fill_global(struct estats_global *b, struct tcp_sock *tp,
					       struct estats_socket *s, u64 now)
{
	b->known = 0;
	ESTATS_PUT(b, global, lim_state_ts, now);
	ESTATS_PUT(b, global, start_ts, s->start_ns);
	ESTATS_PUT(b, global, current_ts, estats_last_ns(tp, s));
	ESTATS_PUT(b, global, start_tv, s->start_ns);	/* user space makes it wall time */
	ESTATS_PUT(b, global, lim_state,
		   s->limits.has_candidate ? s->limits.candidate : s->limits.state);
}

#define ESTATS_PUT_LIM(b, s, now, lower, UPPER)						\
	do {										\
		ESTATS_PUT(b, perf, snd_lim_trans_##lower,				\
			   (s)->limits.transitions[ESTATS_LIM_##UPPER]);		\
		ESTATS_PUT(b, perf, snd_lim_time_##lower##_us,				\
			   estats_lim_us(&(s)->limits, ESTATS_LIM_##UPPER, now));	\
	} while (0)

static __always_inline void estats_fill_limits(struct estats_perf *b, struct estats_socket *s,
					       u64 now)
{
	ESTATS_PUT_LIM(b, s, now, rwin, RWIN);
	ESTATS_PUT_LIM(b, s, now, cwnd, CWND);
	ESTATS_PUT_LIM(b, s, now, snd, SENDER);
	ESTATS_PUT_LIM(b, s, now, startup, STARTUP);
	ESTATS_PUT_LIM(b, s, now, tso_defer, TSODEFER);
	ESTATS_PUT_LIM(b, s, now, pace, PACE);
}

static __always_inline void estats_fill_perf_events(struct estats_perf *b, struct estats_socket *s,
						    struct estats_seen *n)
{
	struct estats_events *e = &s->events;

	ESTATS_PUT(b, perf, zero_rwin_sent, e->zero_rwin_sent);
	ESTATS_PUT(b, perf, zero_rwin_rcvd, e->zero_rwin_rcvd);
	ESTATS_PUT(b, perf, high_rt_tm, n->rtt_high);
	ESTATS_PUT(b, perf, normal_rt_tm, n->rtt_count - n->rtt_high);
#ifdef ESTATS_HOOK_on_tcp_cong_state_set
	ESTATS_PUT(b, perf, cong_signals, e->cong_signals);
	ESTATS_PUT(b, perf, timeouts, e->timeouts);
#endif
#ifdef ESTATS_HOOK_on_tcp_retransmit_skb
	ESTATS_PUT(b, perf, lost_retransmit_segs, e->lost_retransmits);
#endif
}

static __always_inline void estats_fill_perf(struct estats_perf *b, struct tcp_sock *tp,
					     struct estats_socket *s, struct estats_seen *n,
					     u64 now)
{
	u32 window;

	b->known = 0;
	estats_fill_perf_events(b, s, n);
	estats_fill_limits(b, s, now);
	ESTATS_PUT(b, perf, hc_data_octets_out, tp->bytes_sent);
	ESTATS_PUT(b, perf, hc_data_octets_in,
		   n->data_octets_in + (s->has_past ? estats_taken(tp) : 0));
	ESTATS_PUT(b, perf, start_time_stamp, s->start_ns);	/* see start_tv */
	ESTATS_PUT(b, perf, hc_octets_retrans, tp->bytes_retrans);
	ESTATS_PUT(b, perf, elapsed_us, (estats_last_ns(tp, s) - s->start_ns) / 1000);
	ESTATS_PUT(b, perf, segs_out, tp->segs_out);
	ESTATS_PUT(b, perf, data_segs_out, tp->data_segs_out);
	ESTATS_PUT(b, perf, segs_retrans, tp->total_retrans);
	ESTATS_PUT(b, perf, segs_in, tp->segs_in);
	ESTATS_PUT(b, perf, data_segs_in, tp->data_segs_in);
	ESTATS_PUT(b, perf, cur_rto_us, tp->inet_conn.icsk_rto * ESTATS_US_PER_JIFFY);
	ESTATS_PUT(b, perf, cur_cwnd_segs, tp->snd_cwnd);
	ESTATS_PUT(b, perf, cur_ssthresh_segs, tp->snd_ssthresh);
	ESTATS_PUT(b, perf, cur_rwin_rcvd, tp->snd_wnd);
	ESTATS_PUT(b, perf, max_rwin_rcvd, tp->max_window);
	ESTATS_PUT(b, perf, pipe_size, estats_pipe(tp));
	ESTATS_PUT(b, perf, max_pipe_size, n->pipe_max);
	if (n->have & ESTATS_HAVE_RTT)
		ESTATS_PUT(b, perf, smoothed_rtt_us, tp->srtt_us >> 3);
	if (!s->handshaken)
		return;
	window = tp->rcv_wnd;
	estats_pin(window);
	if (n->have & ESTATS_HAVE_RWIN_SENT)
		window = n->rwin_sent;
	ESTATS_PUT(b, perf, cur_mss, tp->mss_cache);
	ESTATS_PUT(b, perf, cur_rwin_sent, window);
	ESTATS_PUT(b, perf, max_rwin_sent, estats_max(n->rwin_sent_max, window));
}

static __always_inline void estats_fill_path_events(struct estats_path *b,
						    struct estats_events *e)
{
	ESTATS_PUT(b, path, ec_nsignals, e->ecn_signals);
	ESTATS_PUT(b, path, ce_rcvd, e->ce_rcvd);
	ESTATS_PUT(b, path, ece_sent, e->ece_sent);
	ESTATS_PUT(b, path, dup_acks_out, e->dup_acks_out);
	ESTATS_PUT(b, path, dup_ack_episodes, e->dup_ack_episodes);
#ifdef ESTATS_HOOK_on_tcp_cong_state_set
	ESTATS_PUT(b, path, non_recov_da, e->non_recov_da);
	ESTATS_PUT(b, path, non_recov_da_episodes, e->non_recov_episodes);
	ESTATS_PUT(b, path, sum_octets_reordered, e->octets_reordered);
	ESTATS_PUT(b, path, pre_cong_sum_cwnd, e->pre_cong_cwnd);
	ESTATS_PUT(b, path, pre_cong_sum_rtt_us, e->pre_cong_rtt_us);
	ESTATS_PUT(b, path, post_cong_sum_rtt_us, e->post_cong_rtt_us);
	ESTATS_PUT(b, path, post_cong_count_rtt, e->post_cong_count);
#endif
}

static __always_inline void estats_fill_path(struct estats_path *b, struct tcp_sock *tp,
					     struct estats_socket *s, struct estats_seen *n)
{
	b->known = 0;
	estats_fill_path_events(b, &s->events);
	ESTATS_PUT(b, path, retran_thresh, tp->reordering);
	ESTATS_PUT(b, path, hc_sum_rtt_us, n->rtt_sum_us);
	ESTATS_PUT(b, path, count_rtt, n->rtt_count);
	if (tp->rcv_rtt_est.rtt_us)
		ESTATS_PUT(b, path, rcv_rtt, tp->rcv_rtt_est.rtt_us >> 3);
	if (n->have & ESTATS_HAVE_RTT) {
		ESTATS_PUT(b, path, sample_rtt_us, n->rtt_us);
		ESTATS_PUT(b, path, max_rtt_us, n->rtt_max_us);
		ESTATS_PUT(b, path, min_rtt_us, n->rtt_min_us);
	}
	if (tp->srtt_us) {
		ESTATS_PUT(b, path, rtt_var_us, tp->rttvar_us >> 2);
		ESTATS_PUT(b, path, mdev_us, tp->mdev_us >> 2);
	}
	if (n->have & ESTATS_HAVE_RTO) {
		ESTATS_PUT(b, path, max_rto_us, n->rto_max * ESTATS_US_PER_JIFFY);
		ESTATS_PUT(b, path, min_rto_us, n->rto_min * ESTATS_US_PER_JIFFY);
	}
	if (n->ip_in_seen) {
		ESTATS_PUT(b, path, ip_ttl, n->ip_ttl);
		ESTATS_PUT(b, path, ip_tos_in, n->ip_tos_in);
	}
	if (n->have & ESTATS_HAVE_TOS_OUT)
		ESTATS_PUT(b, path, ip_tos_out, n->ip_tos_out);
}

/* RFC 4898 numbers the states in its own way; 0 stands for none. */
static __always_inline u32 estats_rfc_state(u8 state)
{
	switch (state) {
	case ESTATS_TCP_ESTABLISHED:	return 5;
	case ESTATS_TCP_SYN_SENT:	return 3;
	case ESTATS_TCP_SYN_RECV:	return 4;
	case ESTATS_TCP_NEW_SYN_RECV:	return 4;
	case ESTATS_TCP_FIN_WAIT1:	return 6;
	case ESTATS_TCP_FIN_WAIT2:	return 7;
	case ESTATS_TCP_TIME_WAIT:	return 11;
	case ESTATS_TCP_CLOSE:		return 1;
	case ESTATS_TCP_CLOSE_WAIT:	return 8;
	case ESTATS_TCP_LAST_ACK:	return 9;
	case ESTATS_TCP_LISTEN:		return 2;
	case ESTATS_TCP_CLOSING:	return 10;
	}
	return 0;
}

/* What was offered is known of a SYN that was seen, else the sysctl as it is now. */
static __always_inline u32 estats_negotiated(u32 used, struct estats_syn *out, u8 option,
					     u32 sysctl)
{
	if (used)
		return ESTATS_ENABLED;
	if (out->options & ESTATS_SYN_SEEN)
		sysctl = out->options & option;
	return sysctl ? ESTATS_PEER_DISABLED : ESTATS_SELF_DISABLED;
}

/* Where a SYN was not seen: a passive end answers with what the peer offered. */
static __always_inline void estats_fill_syns(struct estats_stack *b, struct tcp_sock *tp,
					     struct estats_socket *s)
{
	struct net *net = estats_sock(tp)->__sk_common.skc_net.net;
	struct estats_syn *out = &s->syn_out, *in = &s->syn_in;
	u32 scaled = tp->rx_opt.wscale_ok;

	if (out->options & ESTATS_SYN_SEEN) {
		ESTATS_PUT(b, stack, mss_sent, out->mss);
		ESTATS_PUT(b, stack, win_scale_sent,
			   out->options & ESTATS_SYN_SCALE ? out->scale : -1);
	} else {
		ESTATS_PUT(b, stack, mss_sent, tp->advmss + 12 * tp->rx_opt.tstamp_ok);
		if (scaled || s->flags & ESTATS_FLAG_PASSIVE)
			ESTATS_PUT(b, stack, win_scale_sent, scaled ? tp->rx_opt.rcv_wscale : -1);
	}
	if (in->options & ESTATS_SYN_SEEN) {
		ESTATS_PUT(b, stack, mss_rcvd, in->mss);
		ESTATS_PUT(b, stack, win_scale_rcvd,
			   in->options & ESTATS_SYN_SCALE ? estats_min(in->scale, 14) : -1);
	} else {
		ESTATS_PUT(b, stack, mss_rcvd, tp->rx_opt.mss_clamp);
		/* A host that does not scale forgets what the peer offered. */
		if (scaled || net->ipv4.sysctl_tcp_window_scaling)
			ESTATS_PUT(b, stack, win_scale_rcvd, scaled ? tp->rx_opt.snd_wscale : -1);
	}
}

static __always_inline void estats_fill_handshake(struct estats_stack *b, struct tcp_sock *tp,
						  struct estats_socket *s)
{
	struct net *net = estats_sock(tp)->__sk_common.skc_net.net;
	u32 active = s->flags & ESTATS_FLAG_ACTIVE;
	struct estats_syn *out = &s->syn_out;
	u32 sack = estats_negotiated(tp->rx_opt.sack_ok, out, ESTATS_SYN_SACK,
				     net->ipv4.sysctl_tcp_sack);

	estats_fill_syns(b, tp, s);
	ESTATS_PUT(b, stack, time_stamps,
		   estats_negotiated(tp->rx_opt.tstamp_ok, out, ESTATS_SYN_STAMPS,
				     net->ipv4.sysctl_tcp_timestamps));
	/* Who declined depends on who opened, which a backfilled row does not know. */
	if (tp->ecn_flags & 1 || !(s->flags & ESTATS_FLAG_BACKFILL))
		ESTATS_PUT(b, stack, ecn, estats_negotiated(tp->ecn_flags & 1, out, ESTATS_SYN_ECN,
							    net->ipv4.sysctl_tcp_ecn));
	ESTATS_PUT(b, stack, will_send_sack, sack);
	ESTATS_PUT(b, stack, will_use_sack, sack);
	/* Either side's octets number from its SYN; our own is acknowledged in
	 * bytes_acked only where we sent it first.
	 */
	if (!(s->flags & ESTATS_FLAG_BACKFILL))
		ESTATS_PUT(b, stack, snd_initial, tp->snd_una - (u32)tp->bytes_acked - !active);
	ESTATS_PUT(b, stack, rec_initial, tp->rcv_nxt - (u32)tp->bytes_received - 1);
}

static __always_inline u32 estats_in_recovery(struct tcp_sock *tp)
{
	if (tp->retrans_out)
		return 3;
	if (tp->inet_conn.icsk_ca_state >= 3 && (s32)(tp->snd_una - tp->high_seq) < 0)
		return 3;
	return tp->sacked_out ? 2 : 1;
}

static __always_inline void estats_fill_stack_events(struct estats_stack *b, struct tcp_sock *tp,
						     struct estats_socket *s)
{
	struct estats_events *e = &s->events;
	/* Not noted yet: what the last ACK did shows after the last hook. */
	bool undone = estats_is_undone(s, tp);
	u8 growth = undone ? ESTATS_GROWTH_NONE : estats_growth(s, tp);

	ESTATS_PUT(b, stack, dup_acks_in, e->dup_acks_in);
	ESTATS_PUT(b, stack, sac_ks_rcvd, e->sacks_rcvd);
	ESTATS_PUT(b, stack, sack_blocks_rcvd, e->sack_blocks_rcvd);
	ESTATS_PUT(b, stack, rack_timeout, e->rack_lost + (tp->lost - s->shadow.lost));
#ifdef ESTATS_HOOK_on_tcp_cong_state_set
	ESTATS_PUT(b, stack, fast_retran, e->fast_retran);
	ESTATS_PUT(b, stack, subsequent_timeouts, e->subsequent_timeouts);
	ESTATS_PUT(b, stack, abrupt_timeouts, e->abrupt_timeouts);
	ESTATS_PUT(b, stack, spurious_fr_detected,
		   e->spurious_fr + (undone && s->shadow.episode == ESTATS_CA_RECOVERY));
	ESTATS_PUT(b, stack, spurious_rto_detected,
		   e->spurious_rto + (undone && s->shadow.episode == ESTATS_CA_LOSS));
	ESTATS_PUT(b, stack, cong_over_count, e->cong_over + (undone && tp->prior_ssthresh));
	ESTATS_PUT(b, stack, slow_start,
		   e->slow_start + (growth == ESTATS_GROWTH_SLOW_START));
	ESTATS_PUT(b, stack, cong_avoid,
		   e->cong_avoid + (growth == ESTATS_GROWTH_AVOIDANCE));
	ESTATS_PUT(b, stack, other_reductions, e->other_reductions);
	ESTATS_PUT(b, stack, send_stall, e->send_stall);
#endif
#ifdef ESTATS_HOOK_on_kfree_skb
	ESTATS_PUT(b, stack, soft_errors, e->soft_errors);
	if (e->soft_errors)
		ESTATS_PUT(b, stack, soft_error_reason, e->soft_error_reason);
#endif
}

static __always_inline void estats_fill_stack(struct estats_stack *b, struct tcp_sock *tp,
					      struct estats_socket *s, struct estats_seen *n,
					      u32 rfc_state, bool locked)
{
	b->known = 0;
	estats_fill_stack_events(b, tp, s);
	ESTATS_PUT(b, stack, state, rfc_state);
	if (!(s->flags & ESTATS_FLAG_BACKFILL))
		ESTATS_PUT(b, stack, active_open,
			   s->flags & ESTATS_FLAG_ACTIVE ? ESTATS_TRUE : ESTATS_FALSE);
	ESTATS_PUT(b, stack, nagle, tp->nonagle & 1 ? ESTATS_FALSE : ESTATS_TRUE);
	ESTATS_PUT(b, stack, in_recovery, estats_in_recovery(tp));
	ESTATS_PUT(b, stack, cur_timeout_count, tp->inet_conn.icsk_retransmits);
	ESTATS_PUT(b, stack, dsack_dups, tp->dsack_dups);
	ESTATS_PUT(b, stack, cur_retx_queue, tp->snd_nxt - tp->snd_una);
	ESTATS_PUT(b, stack, max_retx_queue, n->retx_max);
	ESTATS_PUT(b, stack, cur_reasm_queue,
		   locked ? estats_reasm(tp) : tp->out_of_order_queue.rb_node ? n->reasm : 0);
	ESTATS_PUT(b, stack, max_reasm_queue, n->reasm_max);
	ESTATS_PUT(b, stack, max_ss_cwnd, n->ss_cwnd_max);
	ESTATS_PUT(b, stack, max_ca_cwnd, n->ca_cwnd_max);
	if (n->have & ESTATS_HAVE_SSTHRESH) {
		ESTATS_PUT(b, stack, max_ssthresh, n->ssthresh_max);
		ESTATS_PUT(b, stack, min_ssthresh, n->ssthresh_min);
	}
	if (n->have & ESTATS_HAVE_MSS) {
		ESTATS_PUT(b, stack, max_mss, n->mss_max);
		ESTATS_PUT(b, stack, min_mss, n->mss_min);
	}
	if (s->handshaken)
		estats_fill_handshake(b, tp, s);
}

static __always_inline void estats_fill_app(struct estats_app *b, struct tcp_sock *tp,
					    struct estats_seen *n)
{
	b->known = 0;
	ESTATS_PUT(b, app, hc_thru_octets_acked, tp->bytes_acked);
	ESTATS_PUT(b, app, hc_thru_octets_received, tp->bytes_received);
	ESTATS_PUT(b, app, snd_una, tp->snd_una);
	ESTATS_PUT(b, app, snd_nxt, tp->snd_nxt);
	ESTATS_PUT(b, app, rcv_nxt, tp->rcv_nxt);
	ESTATS_PUT(b, app, cur_app_w_queue, tp->write_seq - tp->snd_nxt);
	ESTATS_PUT(b, app, max_app_w_queue, n->wqueue_max);
	ESTATS_PUT(b, app, cur_app_r_queue, estats_rqueue(tp, tp->rcv_nxt));
	ESTATS_PUT(b, app, max_app_r_queue, n->rqueue_max);
}

static __always_inline void estats_fill_tune(struct estats_tune *b, struct tcp_sock *tp)
{
	b->known = 0;
	ESTATS_PUT(b, tune, lim_cwnd, estats_octets(tp->snd_cwnd_clamp, tp->mss_cache));
	ESTATS_PUT(b, tune, lim_rwin, tp->window_clamp);
	ESTATS_PUT(b, tune, lim_mss, tp->rx_opt.mss_clamp);
}

static __always_inline void estats_fill_extras(struct estats_extras *b, struct tcp_sock *tp,
					       struct estats_socket *s)
{
	b->known = 0;
#ifdef ESTATS_HOOK_on_tcp_cong_state_set
	ESTATS_PUT(b, extras, other_reductions_cv, s->events.other_reductions_cv);
#endif
	ESTATS_PUT(b, extras, priority, estats_sock(tp)->sk_priority);
}

/* All blocks that --tables asks for. rfc_state is the state the row shows. */
static __always_inline void estats_fill_tables(struct estats_batch *batch, struct tcp_sock *tp,
					       struct estats_socket *s, struct estats_seen *n,
					       u64 now, u32 rfc_state, bool locked)
{
#if ESTATS_TABLES & ESTATS_TABLE_GLOBAL
	estats_fill_global(&batch->global, tp, s, now);
#endif
#if ESTATS_TABLES & ESTATS_TABLE_PERF
	estats_fill_perf(&batch->perf, tp, s, n, now);
#endif
#if ESTATS_TABLES & ESTATS_TABLE_PATH
	estats_fill_path(&batch->path, tp, s, n);
#endif
#if ESTATS_TABLES & ESTATS_TABLE_STACK
	estats_fill_stack(&batch->stack, tp, s, n, rfc_state, locked);
#endif
#if ESTATS_TABLES & ESTATS_TABLE_APP
	estats_fill_app(&batch->app, tp, n);
#endif
#if ESTATS_TABLES & ESTATS_TABLE_TUNE
	estats_fill_tune(&batch->tune, tp);
#endif
#if ESTATS_TABLES & ESTATS_TABLE_EXTRAS
	estats_fill_extras(&batch->extras, tp, s);
#endif
}
