/* SPDX-License-Identifier: GPL-2.0-only */
/* Made by `python -m bpf.generate` from bpf/catalogue.py and bpf/record.py: edit those.
 * Wants u8, u16, u32, s32 and u64; ESTATS_TABLES chooses the blocks of a batch.
 */
#pragma once

#define ESTATS_TABLE_GLOBAL	0x1
#define ESTATS_TABLE_PERF	0x2
#define ESTATS_TABLE_PATH	0x4
#define ESTATS_TABLE_STACK	0x8
#define ESTATS_TABLE_APP	0x10
#define ESTATS_TABLE_TUNE	0x20
#define ESTATS_TABLE_EXTRAS	0x40
#define ESTATS_TABLE_LISTENER	0x80
#define ESTATS_TABLES_ALL	0xff

#ifndef ESTATS_TABLES
#define ESTATS_TABLES	ESTATS_TABLES_ALL
#endif

enum estats_variable {
	ESTATS_SCALAR_LISTENER_TABLE_LAST_CHANGE = 1,
	ESTATS_CONTROL_CONTROL_PATH = 2,
	ESTATS_CONTROL_CONTROL_STACK = 3,
	ESTATS_CONTROL_CONTROL_APP = 4,
	ESTATS_CONTROL_CONTROL_TUNE = 5,
	ESTATS_CONTROL_CONTROL_NOTIFY = 6,
	ESTATS_CONTROL_CONN_TABLE_LATENCY = 7,
	ESTATS_LISTENER_START_TIME = 8,
	ESTATS_LISTENER_SYN_RCVD = 9,
	ESTATS_LISTENER_INITIAL = 10,
	ESTATS_LISTENER_ESTABLISHED = 11,
	ESTATS_LISTENER_ACCEPTED = 12,
	ESTATS_LISTENER_EXCEED_BACKLOG = 13,
	ESTATS_LISTENER_HC_SYN_RCVD = 14,
	ESTATS_LISTENER_HC_INITIAL = 15,
	ESTATS_LISTENER_HC_ESTABLISHED = 16,
	ESTATS_LISTENER_HC_ACCEPTED = 17,
	ESTATS_LISTENER_HC_EXCEED_BACKLOG = 18,
	ESTATS_LISTENER_CUR_CONNS = 19,
	ESTATS_LISTENER_MAX_BACKLOG = 20,
	ESTATS_LISTENER_CUR_BACKLOG = 21,
	ESTATS_LISTENER_CUR_ESTAB_BACKLOG = 22,
	ESTATS_CONNECTION_CONNECT_INDEX = 23,
	ESTATS_CONNECTION_ADDRESS_TYPE = 24,
	ESTATS_CONNECTION_LOCAL_ADDRESS = 25,
	ESTATS_CONNECTION_REM_ADDRESS = 26,
	ESTATS_CONNECTION_LOCAL_PORT = 27,
	ESTATS_CONNECTION_REM_PORT = 28,
	ESTATS_GLOBAL_LIM_STATE = 29,
	ESTATS_GLOBAL_LIM_STATE_TS = 30,
	ESTATS_GLOBAL_START_TS = 31,
	ESTATS_GLOBAL_CURRENT_TS = 32,
	ESTATS_GLOBAL_START_TV = 33,
	ESTATS_PERF_SEGS_OUT = 34,
	ESTATS_PERF_DATA_SEGS_OUT = 35,
	ESTATS_PERF_DATA_OCTETS_OUT = 36,
	ESTATS_PERF_HC_DATA_OCTETS_OUT = 37,
	ESTATS_PERF_SEGS_RETRANS = 38,
	ESTATS_PERF_OCTETS_RETRANS = 39,
	ESTATS_PERF_SEGS_IN = 40,
	ESTATS_PERF_DATA_SEGS_IN = 41,
	ESTATS_PERF_DATA_OCTETS_IN = 42,
	ESTATS_PERF_HC_DATA_OCTETS_IN = 43,
	ESTATS_PERF_ELAPSED_SECS = 44,
	ESTATS_PERF_ELAPSED_MICRO_SECS = 45,
	ESTATS_PERF_START_TIME_STAMP = 46,
	ESTATS_PERF_CUR_MSS = 47,
	ESTATS_PERF_PIPE_SIZE = 48,
	ESTATS_PERF_MAX_PIPE_SIZE = 49,
	ESTATS_PERF_SMOOTHED_RTT = 50,
	ESTATS_PERF_CUR_RTO = 51,
	ESTATS_PERF_CONG_SIGNALS = 52,
	ESTATS_PERF_CUR_CWND = 53,
	ESTATS_PERF_CUR_SSTHRESH = 54,
	ESTATS_PERF_TIMEOUTS = 55,
	ESTATS_PERF_CUR_RWIN_SENT = 56,
	ESTATS_PERF_MAX_RWIN_SENT = 57,
	ESTATS_PERF_ZERO_RWIN_SENT = 58,
	ESTATS_PERF_CUR_RWIN_RCVD = 59,
	ESTATS_PERF_MAX_RWIN_RCVD = 60,
	ESTATS_PERF_ZERO_RWIN_RCVD = 61,
	ESTATS_PERF_SND_LIM_TRANS_RWIN = 62,
	ESTATS_PERF_SND_LIM_TIME_RWIN = 63,
	ESTATS_PERF_SND_LIM_TRANS_CWND = 64,
	ESTATS_PERF_SND_LIM_TIME_CWND = 65,
	ESTATS_PERF_SND_LIM_TRANS_SND = 66,
	ESTATS_PERF_SND_LIM_TIME_SND = 67,
	ESTATS_PERF_SND_LIM_TRANS_STARTUP = 68,
	ESTATS_PERF_SND_LIM_TIME_STARTUP = 69,
	ESTATS_PERF_SND_LIM_TRANS_TSO_DEFER = 70,
	ESTATS_PERF_SND_LIM_TIME_TSO_DEFER = 71,
	ESTATS_PERF_SND_LIM_TRANS_PACE = 72,
	ESTATS_PERF_SND_LIM_TIME_PACE = 73,
	ESTATS_PERF_LOST_RETRANSMIT_SEGS = 74,
	ESTATS_PERF_NORMAL_RT_TM = 75,
	ESTATS_PERF_HIGH_RT_TM = 76,
	ESTATS_PATH_RETRAN_THRESH = 77,
	ESTATS_PATH_NON_RECOV_DA_EPISODES = 78,
	ESTATS_PATH_SUM_OCTETS_REORDERED = 79,
	ESTATS_PATH_NON_RECOV_DA = 80,
	ESTATS_PATH_SAMPLE_RTT = 81,
	ESTATS_PATH_RTT_VAR = 82,
	ESTATS_PATH_MAX_RTT = 83,
	ESTATS_PATH_MIN_RTT = 84,
	ESTATS_PATH_SUM_RTT = 85,
	ESTATS_PATH_HC_SUM_RTT = 86,
	ESTATS_PATH_COUNT_RTT = 87,
	ESTATS_PATH_MAX_RTO = 88,
	ESTATS_PATH_MIN_RTO = 89,
	ESTATS_PATH_IP_TTL = 90,
	ESTATS_PATH_IP_TOS_IN = 91,
	ESTATS_PATH_IP_TOS_OUT = 92,
	ESTATS_PATH_PRE_CONG_SUM_CWND = 93,
	ESTATS_PATH_PRE_CONG_SUM_RTT = 94,
	ESTATS_PATH_POST_CONG_SUM_RTT = 95,
	ESTATS_PATH_POST_CONG_COUNT_RTT = 96,
	ESTATS_PATH_EC_NSIGNALS = 97,
	ESTATS_PATH_DUP_ACK_EPISODES = 98,
	ESTATS_PATH_RCV_RTT = 99,
	ESTATS_PATH_DUP_ACKS_OUT = 100,
	ESTATS_PATH_CE_RCVD = 101,
	ESTATS_PATH_ECE_SENT = 102,
	ESTATS_STACK_ACTIVE_OPEN = 103,
	ESTATS_STACK_MSS_SENT = 104,
	ESTATS_STACK_MSS_RCVD = 105,
	ESTATS_STACK_WIN_SCALE_SENT = 106,
	ESTATS_STACK_WIN_SCALE_RCVD = 107,
	ESTATS_STACK_TIME_STAMPS = 108,
	ESTATS_STACK_ECN = 109,
	ESTATS_STACK_WILL_SEND_SACK = 110,
	ESTATS_STACK_WILL_USE_SACK = 111,
	ESTATS_STACK_STATE = 112,
	ESTATS_STACK_NAGLE = 113,
	ESTATS_STACK_MAX_SS_CWND = 114,
	ESTATS_STACK_MAX_CA_CWND = 115,
	ESTATS_STACK_MAX_SSTHRESH = 116,
	ESTATS_STACK_MIN_SSTHRESH = 117,
	ESTATS_STACK_IN_RECOVERY = 118,
	ESTATS_STACK_DUP_ACKS_IN = 119,
	ESTATS_STACK_SPURIOUS_FR_DETECTED = 120,
	ESTATS_STACK_SPURIOUS_RTO_DETECTED = 121,
	ESTATS_STACK_SOFT_ERRORS = 122,
	ESTATS_STACK_SOFT_ERROR_REASON = 123,
	ESTATS_STACK_SLOW_START = 124,
	ESTATS_STACK_CONG_AVOID = 125,
	ESTATS_STACK_OTHER_REDUCTIONS = 126,
	ESTATS_STACK_CONG_OVER_COUNT = 127,
	ESTATS_STACK_FAST_RETRAN = 128,
	ESTATS_STACK_SUBSEQUENT_TIMEOUTS = 129,
	ESTATS_STACK_CUR_TIMEOUT_COUNT = 130,
	ESTATS_STACK_ABRUPT_TIMEOUTS = 131,
	ESTATS_STACK_SAC_KS_RCVD = 132,
	ESTATS_STACK_SACK_BLOCKS_RCVD = 133,
	ESTATS_STACK_SEND_STALL = 134,
	ESTATS_STACK_DSACK_DUPS = 135,
	ESTATS_STACK_MAX_MSS = 136,
	ESTATS_STACK_MIN_MSS = 137,
	ESTATS_STACK_SND_INITIAL = 138,
	ESTATS_STACK_REC_INITIAL = 139,
	ESTATS_STACK_CUR_RETX_QUEUE = 140,
	ESTATS_STACK_MAX_RETX_QUEUE = 141,
	ESTATS_STACK_CUR_REASM_QUEUE = 142,
	ESTATS_STACK_MAX_REASM_QUEUE = 143,
	ESTATS_STACK_EARLY_RETRANS = 144,
	ESTATS_STACK_EARLY_RETRANS_DELAY = 145,
	ESTATS_STACK_RACK_TIMEOUT = 146,
	ESTATS_APP_SND_UNA = 147,
	ESTATS_APP_SND_NXT = 148,
	ESTATS_APP_SND_MAX = 149,
	ESTATS_APP_THRU_OCTETS_ACKED = 150,
	ESTATS_APP_HC_THRU_OCTETS_ACKED = 151,
	ESTATS_APP_RCV_NXT = 152,
	ESTATS_APP_THRU_OCTETS_RECEIVED = 153,
	ESTATS_APP_HC_THRU_OCTETS_RECEIVED = 154,
	ESTATS_APP_CUR_APP_W_QUEUE = 155,
	ESTATS_APP_MAX_APP_W_QUEUE = 156,
	ESTATS_APP_CUR_APP_R_QUEUE = 157,
	ESTATS_APP_MAX_APP_R_QUEUE = 158,
	ESTATS_TUNE_LIM_CWND = 159,
	ESTATS_TUNE_LIM_SSTHRESH = 160,
	ESTATS_TUNE_LIM_RWIN = 161,
	ESTATS_TUNE_LIM_MSS = 162,
	ESTATS_EXTRAS_OTHER_REDUCTIONS_CV = 163,
	ESTATS_EXTRAS_OTHER_REDUCTIONS_CM = 164,
	ESTATS_EXTRAS_PRIORITY = 165,
	ESTATS_PERF_HC_OCTETS_RETRANS = 166,
	ESTATS_PERF_ELAPSED_US = 167,
	ESTATS_PERF_SMOOTHED_RTT_US = 168,
	ESTATS_PERF_CUR_RTO_US = 169,
	ESTATS_PERF_CUR_CWND_SEGS = 170,
	ESTATS_PERF_CUR_SSTHRESH_SEGS = 171,
	ESTATS_PATH_SAMPLE_RTT_US = 172,
	ESTATS_PATH_RTT_VAR_US = 173,
	ESTATS_PATH_MDEV_US = 174,
	ESTATS_PATH_MAX_RTT_US = 175,
	ESTATS_PATH_MIN_RTT_US = 176,
	ESTATS_PATH_HC_SUM_RTT_US = 177,
	ESTATS_PATH_MAX_RTO_US = 178,
	ESTATS_PATH_MIN_RTO_US = 179,
	ESTATS_PERF_SND_LIM_TIME_RWIN_US = 180,
	ESTATS_PERF_SND_LIM_TIME_CWND_US = 181,
	ESTATS_PERF_SND_LIM_TIME_SND_US = 182,
	ESTATS_PERF_SND_LIM_TIME_STARTUP_US = 183,
	ESTATS_PERF_SND_LIM_TIME_TSO_DEFER_US = 184,
	ESTATS_PERF_SND_LIM_TIME_PACE_US = 185,
	ESTATS_PATH_PRE_CONG_SUM_RTT_US = 186,
	ESTATS_PATH_POST_CONG_SUM_RTT_US = 187,
	ESTATS_LISTENER_SOCKET_DROPS = 188,
};

enum estats_op {
	ESTATS_OP_SET = 0,
	ESTATS_OP_ADD = 1,
	ESTATS_OP_SUB = 2,
	ESTATS_OP_MAX = 3,
	ESTATS_OP_MIN = 4,
};

enum estats_flag {
	ESTATS_FLAG_ACTIVE = 1,
	ESTATS_FLAG_PASSIVE = 2,
	ESTATS_FLAG_BACKFILL = 4,
	ESTATS_FLAG_FINAL = 8,
	ESTATS_FLAG_SWEPT = 16,
	ESTATS_FLAG_IPV4 = 32,
	ESTATS_FLAG_OWNER = 64,
	ESTATS_FLAG_POLLED = 128,
	ESTATS_FLAG_EVICTED = 256,
};

struct estats_head {
	u64 ts;
	u64 id;
	u32 sent;
	u16 shard;
	u8 state;
	u8 old_state;
	u32 flags;
	u32 error;
};
_Static_assert(sizeof(struct estats_head) == 32, "bpf/record.py: estats_head");

struct estats_identity {
	u64 cookie;
	u64 start_ns;
	u64 cgroup;
	u64 pid_start_ns;
	u8 local_address[16];
	u8 rem_address[16];
	u16 local_port;
	u16 rem_port;
	u32 netns;
	u32 pid;
	u32 uid;
	char comm[16];
};
_Static_assert(sizeof(struct estats_identity) == 96, "bpf/record.py: estats_identity");

struct estats_listener_head {
	u64 closed_ns;
	u32 flags;
	u32 address_type;
};
_Static_assert(sizeof(struct estats_listener_head) == 16, "bpf/record.py: estats_listener_head");

#define ESTATS_BIT_global_lim_state_ts	0
#define ESTATS_BIT_global_start_ts	1
#define ESTATS_BIT_global_current_ts	2
#define ESTATS_BIT_global_start_tv	3
#define ESTATS_BIT_global_lim_state	4
struct estats_global {
	u64 known;
	u64 lim_state_ts;
	u64 start_ts;
	u64 current_ts;
	u64 start_tv;
	u32 lim_state;
};
_Static_assert(sizeof(struct estats_global) == 48, "bpf/record.py: estats_global");

#define ESTATS_BIT_perf_hc_data_octets_out	0
#define ESTATS_BIT_perf_hc_data_octets_in	1
#define ESTATS_BIT_perf_start_time_stamp	2
#define ESTATS_BIT_perf_hc_octets_retrans	3
#define ESTATS_BIT_perf_elapsed_us	4
#define ESTATS_BIT_perf_snd_lim_time_rwin_us	5
#define ESTATS_BIT_perf_snd_lim_time_cwnd_us	6
#define ESTATS_BIT_perf_snd_lim_time_snd_us	7
#define ESTATS_BIT_perf_snd_lim_time_startup_us	8
#define ESTATS_BIT_perf_snd_lim_time_tso_defer_us	9
#define ESTATS_BIT_perf_snd_lim_time_pace_us	10
#define ESTATS_BIT_perf_segs_out	11
#define ESTATS_BIT_perf_data_segs_out	12
#define ESTATS_BIT_perf_segs_retrans	13
#define ESTATS_BIT_perf_segs_in	14
#define ESTATS_BIT_perf_data_segs_in	15
#define ESTATS_BIT_perf_cur_mss	16
#define ESTATS_BIT_perf_pipe_size	17
#define ESTATS_BIT_perf_max_pipe_size	18
#define ESTATS_BIT_perf_cong_signals	19
#define ESTATS_BIT_perf_timeouts	20
#define ESTATS_BIT_perf_cur_rwin_sent	21
#define ESTATS_BIT_perf_max_rwin_sent	22
#define ESTATS_BIT_perf_zero_rwin_sent	23
#define ESTATS_BIT_perf_cur_rwin_rcvd	24
#define ESTATS_BIT_perf_max_rwin_rcvd	25
#define ESTATS_BIT_perf_zero_rwin_rcvd	26
#define ESTATS_BIT_perf_snd_lim_trans_rwin	27
#define ESTATS_BIT_perf_snd_lim_trans_cwnd	28
#define ESTATS_BIT_perf_snd_lim_trans_snd	29
#define ESTATS_BIT_perf_snd_lim_trans_startup	30
#define ESTATS_BIT_perf_snd_lim_trans_tso_defer	31
#define ESTATS_BIT_perf_snd_lim_trans_pace	32
#define ESTATS_BIT_perf_lost_retransmit_segs	33
#define ESTATS_BIT_perf_normal_rt_tm	34
#define ESTATS_BIT_perf_high_rt_tm	35
#define ESTATS_BIT_perf_smoothed_rtt_us	36
#define ESTATS_BIT_perf_cur_rto_us	37
#define ESTATS_BIT_perf_cur_cwnd_segs	38
#define ESTATS_BIT_perf_cur_ssthresh_segs	39
struct estats_perf {
	u64 known;
	u64 hc_data_octets_out;
	u64 hc_data_octets_in;
	u64 start_time_stamp;
	u64 hc_octets_retrans;
	u64 elapsed_us;
	u64 snd_lim_time_rwin_us;
	u64 snd_lim_time_cwnd_us;
	u64 snd_lim_time_snd_us;
	u64 snd_lim_time_startup_us;
	u64 snd_lim_time_tso_defer_us;
	u64 snd_lim_time_pace_us;
	u32 segs_out;
	u32 data_segs_out;
	u32 segs_retrans;
	u32 segs_in;
	u32 data_segs_in;
	u32 cur_mss;
	u32 pipe_size;
	u32 max_pipe_size;
	u32 cong_signals;
	u32 timeouts;
	u32 cur_rwin_sent;
	u32 max_rwin_sent;
	u32 zero_rwin_sent;
	u32 cur_rwin_rcvd;
	u32 max_rwin_rcvd;
	u32 zero_rwin_rcvd;
	u32 snd_lim_trans_rwin;
	u32 snd_lim_trans_cwnd;
	u32 snd_lim_trans_snd;
	u32 snd_lim_trans_startup;
	u32 snd_lim_trans_tso_defer;
	u32 snd_lim_trans_pace;
	u32 lost_retransmit_segs;
	u32 normal_rt_tm;
	u32 high_rt_tm;
	u32 smoothed_rtt_us;
	u32 cur_rto_us;
	u32 cur_cwnd_segs;
	u32 cur_ssthresh_segs;
};
_Static_assert(sizeof(struct estats_perf) == 216, "bpf/record.py: estats_perf");

#define ESTATS_BIT_path_hc_sum_rtt_us	0
#define ESTATS_BIT_path_pre_cong_sum_rtt_us	1
#define ESTATS_BIT_path_post_cong_sum_rtt_us	2
#define ESTATS_BIT_path_retran_thresh	3
#define ESTATS_BIT_path_non_recov_da_episodes	4
#define ESTATS_BIT_path_sum_octets_reordered	5
#define ESTATS_BIT_path_non_recov_da	6
#define ESTATS_BIT_path_count_rtt	7
#define ESTATS_BIT_path_ip_ttl	8
#define ESTATS_BIT_path_ip_tos_in	9
#define ESTATS_BIT_path_ip_tos_out	10
#define ESTATS_BIT_path_pre_cong_sum_cwnd	11
#define ESTATS_BIT_path_post_cong_count_rtt	12
#define ESTATS_BIT_path_ec_nsignals	13
#define ESTATS_BIT_path_dup_ack_episodes	14
#define ESTATS_BIT_path_rcv_rtt	15
#define ESTATS_BIT_path_dup_acks_out	16
#define ESTATS_BIT_path_ce_rcvd	17
#define ESTATS_BIT_path_ece_sent	18
#define ESTATS_BIT_path_sample_rtt_us	19
#define ESTATS_BIT_path_rtt_var_us	20
#define ESTATS_BIT_path_mdev_us	21
#define ESTATS_BIT_path_max_rtt_us	22
#define ESTATS_BIT_path_min_rtt_us	23
#define ESTATS_BIT_path_max_rto_us	24
#define ESTATS_BIT_path_min_rto_us	25
struct estats_path {
	u64 known;
	u64 hc_sum_rtt_us;
	u64 pre_cong_sum_rtt_us;
	u64 post_cong_sum_rtt_us;
	u32 retran_thresh;
	u32 non_recov_da_episodes;
	u32 sum_octets_reordered;
	u32 non_recov_da;
	u32 count_rtt;
	u32 ip_ttl;
	u32 ip_tos_in;
	u32 ip_tos_out;
	u32 pre_cong_sum_cwnd;
	u32 post_cong_count_rtt;
	u32 ec_nsignals;
	u32 dup_ack_episodes;
	u32 rcv_rtt;
	u32 dup_acks_out;
	u32 ce_rcvd;
	u32 ece_sent;
	u32 sample_rtt_us;
	u32 rtt_var_us;
	u32 mdev_us;
	u32 max_rtt_us;
	u32 min_rtt_us;
	u32 max_rto_us;
	u32 min_rto_us;
};
_Static_assert(sizeof(struct estats_path) == 128, "bpf/record.py: estats_path");

#define ESTATS_BIT_stack_active_open	0
#define ESTATS_BIT_stack_mss_sent	1
#define ESTATS_BIT_stack_mss_rcvd	2
#define ESTATS_BIT_stack_win_scale_sent	3
#define ESTATS_BIT_stack_win_scale_rcvd	4
#define ESTATS_BIT_stack_time_stamps	5
#define ESTATS_BIT_stack_ecn	6
#define ESTATS_BIT_stack_will_send_sack	7
#define ESTATS_BIT_stack_will_use_sack	8
#define ESTATS_BIT_stack_state	9
#define ESTATS_BIT_stack_nagle	10
#define ESTATS_BIT_stack_max_ss_cwnd	11
#define ESTATS_BIT_stack_max_ca_cwnd	12
#define ESTATS_BIT_stack_max_ssthresh	13
#define ESTATS_BIT_stack_min_ssthresh	14
#define ESTATS_BIT_stack_in_recovery	15
#define ESTATS_BIT_stack_dup_acks_in	16
#define ESTATS_BIT_stack_spurious_fr_detected	17
#define ESTATS_BIT_stack_spurious_rto_detected	18
#define ESTATS_BIT_stack_soft_errors	19
#define ESTATS_BIT_stack_soft_error_reason	20
#define ESTATS_BIT_stack_slow_start	21
#define ESTATS_BIT_stack_cong_avoid	22
#define ESTATS_BIT_stack_other_reductions	23
#define ESTATS_BIT_stack_cong_over_count	24
#define ESTATS_BIT_stack_fast_retran	25
#define ESTATS_BIT_stack_subsequent_timeouts	26
#define ESTATS_BIT_stack_cur_timeout_count	27
#define ESTATS_BIT_stack_abrupt_timeouts	28
#define ESTATS_BIT_stack_sac_ks_rcvd	29
#define ESTATS_BIT_stack_sack_blocks_rcvd	30
#define ESTATS_BIT_stack_send_stall	31
#define ESTATS_BIT_stack_dsack_dups	32
#define ESTATS_BIT_stack_max_mss	33
#define ESTATS_BIT_stack_min_mss	34
#define ESTATS_BIT_stack_snd_initial	35
#define ESTATS_BIT_stack_rec_initial	36
#define ESTATS_BIT_stack_cur_retx_queue	37
#define ESTATS_BIT_stack_max_retx_queue	38
#define ESTATS_BIT_stack_cur_reasm_queue	39
#define ESTATS_BIT_stack_max_reasm_queue	40
#define ESTATS_BIT_stack_rack_timeout	41
struct estats_stack {
	u64 known;
	u32 active_open;
	u32 mss_sent;
	u32 mss_rcvd;
	s32 win_scale_sent;
	s32 win_scale_rcvd;
	u32 time_stamps;
	u32 ecn;
	u32 will_send_sack;
	u32 will_use_sack;
	u32 state;
	u32 nagle;
	u32 max_ss_cwnd;
	u32 max_ca_cwnd;
	u32 max_ssthresh;
	u32 min_ssthresh;
	u32 in_recovery;
	u32 dup_acks_in;
	u32 spurious_fr_detected;
	u32 spurious_rto_detected;
	u32 soft_errors;
	u32 soft_error_reason;
	u32 slow_start;
	u32 cong_avoid;
	u32 other_reductions;
	u32 cong_over_count;
	u32 fast_retran;
	u32 subsequent_timeouts;
	u32 cur_timeout_count;
	u32 abrupt_timeouts;
	u32 sac_ks_rcvd;
	u32 sack_blocks_rcvd;
	u32 send_stall;
	u32 dsack_dups;
	u32 max_mss;
	u32 min_mss;
	u32 snd_initial;
	u32 rec_initial;
	u32 cur_retx_queue;
	u32 max_retx_queue;
	u32 cur_reasm_queue;
	u32 max_reasm_queue;
	u32 rack_timeout;
};
_Static_assert(sizeof(struct estats_stack) == 176, "bpf/record.py: estats_stack");

#define ESTATS_BIT_app_hc_thru_octets_acked	0
#define ESTATS_BIT_app_hc_thru_octets_received	1
#define ESTATS_BIT_app_snd_una	2
#define ESTATS_BIT_app_snd_nxt	3
#define ESTATS_BIT_app_rcv_nxt	4
#define ESTATS_BIT_app_cur_app_w_queue	5
#define ESTATS_BIT_app_max_app_w_queue	6
#define ESTATS_BIT_app_cur_app_r_queue	7
#define ESTATS_BIT_app_max_app_r_queue	8
struct estats_app {
	u64 known;
	u64 hc_thru_octets_acked;
	u64 hc_thru_octets_received;
	u32 snd_una;
	u32 snd_nxt;
	u32 rcv_nxt;
	u32 cur_app_w_queue;
	u32 max_app_w_queue;
	u32 cur_app_r_queue;
	u32 max_app_r_queue;
};
_Static_assert(sizeof(struct estats_app) == 56, "bpf/record.py: estats_app");

#define ESTATS_BIT_tune_lim_cwnd	0
#define ESTATS_BIT_tune_lim_rwin	1
#define ESTATS_BIT_tune_lim_mss	2
struct estats_tune {
	u64 known;
	u32 lim_cwnd;
	u32 lim_rwin;
	u32 lim_mss;
};
_Static_assert(sizeof(struct estats_tune) == 24, "bpf/record.py: estats_tune");

#define ESTATS_BIT_extras_other_reductions_cv	0
#define ESTATS_BIT_extras_priority	1
struct estats_extras {
	u64 known;
	u32 other_reductions_cv;
	u32 priority;
};
_Static_assert(sizeof(struct estats_extras) == 16, "bpf/record.py: estats_extras");

#define ESTATS_BIT_listener_start_time	0
#define ESTATS_BIT_listener_hc_syn_rcvd	1
#define ESTATS_BIT_listener_hc_initial	2
#define ESTATS_BIT_listener_hc_established	3
#define ESTATS_BIT_listener_hc_accepted	4
#define ESTATS_BIT_listener_hc_exceed_backlog	5
#define ESTATS_BIT_listener_cur_conns	6
#define ESTATS_BIT_listener_max_backlog	7
#define ESTATS_BIT_listener_cur_backlog	8
#define ESTATS_BIT_listener_cur_estab_backlog	9
#define ESTATS_BIT_listener_socket_drops	10
struct estats_listener {
	u64 known;
	u64 start_time;
	u64 hc_syn_rcvd;
	u64 hc_initial;
	u64 hc_established;
	u64 hc_accepted;
	u64 hc_exceed_backlog;
	u32 cur_conns;
	u32 max_backlog;
	u32 cur_backlog;
	u32 cur_estab_backlog;
	u32 socket_drops;
};
_Static_assert(sizeof(struct estats_listener) == 80, "bpf/record.py: estats_listener");

struct estats_batch {
	struct estats_head head;
	struct estats_identity identity;
#if ESTATS_TABLES & ESTATS_TABLE_GLOBAL
	struct estats_global global;
#endif
#if ESTATS_TABLES & ESTATS_TABLE_PERF
	struct estats_perf perf;
#endif
#if ESTATS_TABLES & ESTATS_TABLE_PATH
	struct estats_path path;
#endif
#if ESTATS_TABLES & ESTATS_TABLE_STACK
	struct estats_stack stack;
#endif
#if ESTATS_TABLES & ESTATS_TABLE_APP
	struct estats_app app;
#endif
#if ESTATS_TABLES & ESTATS_TABLE_TUNE
	struct estats_tune tune;
#endif
#if ESTATS_TABLES & ESTATS_TABLE_EXTRAS
	struct estats_extras extras;
#endif
};
#if ESTATS_TABLES == ESTATS_TABLES_ALL
_Static_assert(sizeof(struct estats_batch) == 792, "bpf/record.py: batch");
#endif

struct estats_listener_row {
	struct estats_listener_head head;
	struct estats_identity identity;
	struct estats_listener listener;
};
_Static_assert(sizeof(struct estats_listener_row) == 192, "bpf/record.py: estats_listener_row");
