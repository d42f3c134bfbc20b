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
                tools_of_a_caller_are_kept_with_the_run,
                what_goes_on_after_a_message_is_accepted_once,
                a_message_is_accepted_once,
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
                renewing_tells_who_was_asked_to_stop,
                releasing_gives_the_run_back,
                an_ended_run_takes_no_more,
                the_run_under_way_comes_before_those_that_wait,
                claiming_at_once_hands_out_once,
            }
            duties {
                one_worker_holds_a_duty,
                duties_expire,
                duties_are_prolonged_by_asking_again,
                duties_are_given_back,
                taking_at_once_gives_to_one,
                duties_have_a_name,
            }
            generations {
                one_generation_is_active,
                of_two_who_activate_one_does,
                the_status_spans_tenants,
                the_active_generation_is_not_dropped,
                a_dropped_generation_is_made_anew,
            }
            maintenance {
                recent_things_stay,
                old_events_go_and_the_end_is_known,
                a_run_under_way_keeps_its_events,
                silent_conversations_are_overdue_when_their_tenant_says_so,
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
            recall {
                messages_come_back_as_they_were,
                imports_get_the_next_places,
                a_repeated_import_changes_nothing,
                imports_cannot_take_a_waiting_messages_place,
                imports_wait_for_the_run_under_way,
                imports_come_before_runs_that_wait,
                tool_messages_are_not_imported,
                imports_are_paged_out_from_the_start,
                imports_behind_a_queue_belong_to_it,
                pages_run_both_ways_from_any_place,
                a_message_is_read_by_its_id,
                a_waiting_message_is_not_readable,
                a_long_conversation_reads_without_gaps,
            }
            archival {
                passages_come_back_as_they_were,
                storing_again_replaces,
                inserting_at_once_stores_one,
                passages_are_stored_all_or_none,
                deleted_passages_are_gone,
                lists_are_read_in_pages,
                writing_has_its_rights,
            }
            items {
                items_come_back_as_they_were,
                changes_count_versions,
                writes_at_one_moment_have_an_order,
                writes_are_all_or_none,
                the_same_id_again_is_refused,
                of_several_who_change_one_version_one_does,
                trees_have_one_top_and_one_owner,
                trees_have_a_depth,
                items_move_in_their_tree,
                moving_at_once_makes_no_ring,
                deleting_takes_what_is_below,
                adding_while_deleting_leaves_nothing_behind,
            }
            item_rights {
                a_users_items_are_all_assistants,
                what_an_assistant_keeps_the_others_read,
                items_of_many_have_their_rights,
                strangers_get_nothing,
                shares_have_levels,
                what_is_shared_is_listed,
                team_shares_follow_membership,
                sharing_ends_at_once,
                only_the_owner_shares,
                some_kinds_are_never_shared,
            }
            item_lists {
                items_are_listed_in_pages,
                lists_filter,
                items_have_their_limits,
                odd_text_survives,
                searchable_items_are_found,
                items_are_embedded,
                an_items_passage_is_not_written_as_one,
            }
            perpetual {
                users_go_before_what_agents_begin,
                nothing_waits_for_ever,
                a_run_under_way_is_not_overtaken,
                work_is_claimed_by_its_turn,
                what_agents_begin_by_themselves_is_counted,
                quiet_hours_are_kept,
                a_page_that_failed_is_made_again,
            }
            documents {
                documents_are_kept_as_they_were_put,
                the_same_bytes_are_one_document,
                documents_are_seen_by_their_people,
                documents_of_a_team_are_its_members,
                unread_documents_are_taken_and_held,
                tenants_take_turns_with_documents,
                a_document_is_found_when_it_was_read,
                parts_go_with_their_document,
                documents_go_with_their_people,
            }
            timers {
                what_waits_is_taken_when_its_time_has_come,
                timers_are_kept_as_they_were_made,
                timers_are_seen_by_their_people,
                timers_are_of_what_is_there,
                timers_have_a_limit,
                due_timers_are_taken_and_held,
                due_timers_are_taken_by_one,
                tenants_take_turns_with_timers,
                a_firing_is_one_change,
                an_occurrence_has_one_run,
                timers_go_with_their_people,
            }
            images {
                images_are_kept_as_they_were_made,
                images_are_what_they_say,
                images_are_seen_by_their_people,
                images_of_a_day_have_a_limit,
                the_last_image_of_a_day_is_one,
                images_go_with_their_conversation,
            }
            toolsets {
                toolsets_are_kept_as_they_were_put,
                toolsets_change_by_version,
                toolsets_are_the_tenants,
                toolsets_have_limits,
            }
            egos {
                egos_are_kept_as_they_were_put,
                egos_change_by_version,
                egos_are_the_tenants,
                egos_have_limits,
                the_roster_is_the_tenants,
                a_message_keeps_its_sender,
            }
            approvals {
                approvals_are_asked_with_their_commit,
                approvals_are_seen_by_those_of_the_conversation,
                an_approval_is_decided_once,
                an_agent_approves_nothing,
                approvals_expire,
                erasing_takes_approvals_along,
                messages_keep_where_they_came_from,
                influence_ends_at_blocks_of_others,
            }
            tasks {
                tasks_are_kept_as_they_were_written,
                tasks_change_by_version_and_state,
                tasks_are_seen_by_those_whose_they_are,
                tasks_are_listed_in_pages,
                tasks_are_due_when_something_is_to_be_done,
                due_tasks_are_fair,
                erasing_takes_tasks_along,
            }
            webhooks {
                webhooks_are_kept_as_they_were_made,
                webhooks_are_the_tenants,
                ended_runs_are_told_with_their_commit,
                other_changes_are_told,
                erasing_takes_deliveries_along,
            }
            deliveries {
                deliveries_are_taken_and_held,
                deliveries_are_taken_by_one,
                what_is_asked_for_again_is_tried_by_one,
                conversations_are_told_in_order,
                an_attempt_ends_once,
                disabled_webhooks_wait,
                deliveries_are_listed_and_forgotten,
            }
            audit {
                entries_come_back_as_they_were,
                everybody_reads_their_part_of_the_log,
                the_log_is_filtered,
                the_log_is_read_in_pages,
                old_entries_go,
            }
            search {
                messages_are_found_at_once,
                passages_are_found_at_once,
                words_are_found_in_other_forms,
                tool_results_and_notes_are_never_found,
                filters_leave_out_the_rest,
                asking_for_foreign_owners_finds_nothing,
                what_is_in_the_prompt_is_left_out,
                named_times_bring_what_was_said_then,
                neighbours_come_along,
                the_context_channel_knows_the_message_before,
                the_context_stays_in_its_conversation,
                speakers_are_found,
                candidates_come_once_and_are_counted,
                any_text_is_a_query,
                other_scripts_are_found,
                an_unknown_generation_compares_nothing,
                found_records_are_whole,
            }
            vectors {
                records_wait_for_vectors_oldest_first,
                vectors_are_compared,
                the_status_counts_what_the_scope_sees,
                generations_never_mix,
                vectors_have_their_generations_length,
                vectors_of_the_gone_are_dropped,
                deleted_vectors_are_not_compared,
                vectors_stay_in_their_tenant,
                texts_without_a_vector_are_done,
                a_replaced_text_is_embedded_anew,
                vectors_are_replaced,
                the_best_chunk_is_told,
                vectors_are_compared_within_the_scope,
                a_jobs_scope_sees_its_record,
            }
            blocks {
                pairs_get_the_templates_once,
                templates_are_copied_not_shared,
                writes_count_versions,
                history_tells_every_version,
                limits_count_characters,
                labels_are_unique_per_owner,
                turns_see_shared_blocks,
                turns_edit_only_what_they_may_write,
                links_share_between_agents_not_between_users,
                a_turns_edits_are_compare_and_set,
                edits_from_outside_take_the_prefix_away,
                writing_blocks_has_its_rights,
            }
            diary {
                days_are_due_when_they_are_over,
                days_are_those_of_the_users_zone,
                a_day_is_made_from_what_was_said,
                a_long_day_is_told_by_its_end,
                weeks_follow_days_and_months_follow_weeks,
                outdated_pages_are_due_again,
                pages_are_read_by_level_and_span,
                a_period_has_one_page,
                pages_are_found,
                pages_have_their_place,
                agents_have_a_diary_of_their_own,
            }
            usage {
                limits_are_kept_per_tenant,
                requests_add_up,
                the_token_ledger_is_the_sum_of_all_steps,
                days_and_months_begin_anew,
                reservations_stop_at_the_limit,
                reservations_expire,
                reserving_at_once_spends_nothing_twice,
                no_tenant_takes_more_than_its_share,
            }
            directory {
                tenants_have_unique_names,
                keys_are_found_and_revoked,
                keys_keep_what_they_may_do,
                keys_end_sooner_never_later,
                users_have_unique_handles,
                lists_are_read_in_pages,
                teams_have_members,
                teams_have_parts,
                who_is_in_a_part_is_in_the_whole,
                people_know_who_is_in_a_team_with_them,
                agents_are_made_and_changed,
                a_key_opens_one_conversation,
                conversations_are_listed_newest_first,
                people_see_their_part_of_the_directory,
                people_and_turns_do_not_manage,
            }
            visibility {
                everybody_sees_their_own_and_no_more,
                membership_is_in_force_at_once,
                an_agents_teams_are_in_force_at_once,
                parts_of_a_team_share_what_the_whole_knows,
                an_agent_of_a_part_reads_the_whole,
                a_turn_knows_what_its_human_is_in_teams,
                recall_belongs_to_the_pair,
            }
            isolation {
                another_tenant_gets_nothing,
                another_tenants_people_and_turns_get_nothing,
                another_user_gets_nothing,
                another_turn_gets_nothing,
                the_rightful_get_everything,
                names_do_not_cross_tenants,
            }
            erase {
                an_erased_conversation_is_gone,
                erased_vectors_are_gone,
                erased_block_edits_are_taken_back,
                replayed_edits_bring_nothing_back,
                quotes_elsewhere_are_redacted,
                what_other_runs_were_shown_is_forgotten,
                the_diary_is_written_anew,
                a_late_page_brings_nothing_back,
                the_run_under_way_is_fenced_off,
                erased_runs_leave_their_keys_free,
                erasing_has_its_rights,
                an_erased_user_is_gone,
                an_erased_agent_is_gone,
                items_go_with_their_user,
                items_go_with_their_agent,
                items_go_with_their_conversation,
                making_while_erasing_leaves_nothing_behind,
                the_audit_log_outlives_people,
            }
            durable {
                what_was_acknowledged_survives,
                a_run_survives_the_process,
                dense_is_as_it_says,
            }
            walk {
                random_walks_keep_the_invariants,
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
                    $crate::conformance::run($open, $crate::conformance::named(stringify!($subject), stringify!($check)));
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
