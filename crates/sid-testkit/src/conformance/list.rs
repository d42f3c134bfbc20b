//! Each check's name, once.

/// Gives the list of all checks to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __each_store_check {
    ($then:ident! $($first:tt)*) => {
        $crate::$then! { $($first)*
            runs {
                messages_wait_with_their_run_until_it_is_claimed,
                a_lease_carries_the_scope_of_its_turn,
                accepting_claims_idle_conversations_only,
                accepting_never_overtakes_what_waits,
                nonsense_is_not_accepted,
                a_stimulus_may_have_several_messages,
                the_same_run_again_is_a_repetition,
                runs_come_up_in_commit_order,
                a_turns_messages_stay_together,
                accepting_at_once_loses_nothing,
                a_queue_has_a_depth,
                busy_may_be_refused,
                busy_may_be_interrupted,
                cancelling_a_waiting_run_keeps_its_message,
                claiming_ends_cancelled_runs,
                cancelling_a_running_run_asks_its_worker,
                cancelling_an_ended_run_changes_nothing,
                runs_are_listed_newest_first,
            }
            journal {
                finishing_sets_status_reason_and_last_event,
                finishing_hands_on_the_next_run,
                a_repeated_commit_changes_nothing,
                a_repeated_finish_is_answered,
                commit_numbers_do_not_skip,
                a_refused_commit_writes_nothing,
                paging_out_moves_the_queue,
                the_prefix_is_kept,
                order_is_by_sequence_not_by_clock,
                the_conversation_keeps_count,
                conversations_run_side_by_side,
            }
            steps {
                steps_are_recorded_and_counted,
                planned_calls_are_open_until_finished,
                unknown_calls_are_invalid,
                a_crash_leaves_open_calls_behind,
                loading_gives_all_that_a_turn_needs,
                the_last_contact_is_known,
            }
            leases {
                claiming_takes_the_oldest_work_first,
                idle_conversations_are_not_claimed,
                an_expired_lease_is_claimed_by_others,
                a_replaced_worker_is_fenced_off,
                a_replaced_worker_is_not_told_that_it_has_written,
                renewing_prolongs_what_holds,
                releasing_gives_the_run_back,
                an_ended_run_takes_no_more,
                the_run_under_way_comes_before_those_that_wait,
                claiming_at_once_hands_out_once,
            }
            idempotency {
                the_same_request_gets_the_same_run,
                another_request_may_not_reuse_a_key,
                keys_belong_to_their_principal,
                keys_are_kept_for_a_day,
                keys_have_a_length,
                repeating_at_once_makes_one_run,
                a_refused_request_leaves_its_key_free,
            }
            events {
                events_are_dense_and_in_order,
                events_are_read_on_from_any_number,
                events_come_back_as_they_were,
                messages_are_not_events_by_themselves,
                following_answers_what_is_there,
                following_wakes_up,
                following_gives_up,
                nobody_writes_a_last_event_by_hand,
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_check_tests {
    ($open:expr; $($subject:ident { $($check:ident,)* })*) => {$(
        mod $subject {
            #[allow(unused_imports, reason = "the opener may be a path or a closure")]
            use super::*;
            $(
                #[test]
                fn $check() {
                    $crate::conformance::run($open, $crate::conformance::$subject::$check);
                }
            )*
        }
    )*};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_check_table {
    ($($subject:ident { $($check:ident,)* })*) => {
        vec![$($(
            (stringify!($subject), stringify!($check), |world| Box::pin($crate::conformance::$subject::$check(world))),
        )*)*]
    };
}

/// Expands every check of the store contract into a `#[test]`, in one module per subject.
///
/// `open` is an `async fn(Arc<ManualClock>) -> Fixture` that answers a fresh, empty store each time; the store must tell the time by
/// that clock.
///
/// ```no_run
/// use std::sync::Arc;
/// use sid_store::InProcess;
/// use sid_testkit::conformance::Fixture;
/// use sid_types::ManualClock;
///
/// async fn open(clock: Arc<ManualClock>) -> Fixture {
///     Fixture::new(Arc::new(InProcess::new(clock)))
/// }
///
/// sid_testkit::store_conformance!(open);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! store_conformance {
    ($open:expr) => {
        $crate::__each_store_check! { __store_check_tests! $open; }
    };
}
