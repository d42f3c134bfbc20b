//! Which checks find which bug.

use super::*;

#[test]
fn a_store_without_priorities() {
    let names = ["users_go_before_what_agents_begin", "nothing_waits_for_ever", "work_is_claimed_by_its_turn"];
    found_by(Bug::KnowsNoPriorities, &names);
}

#[test]
fn a_store_that_does_not_count_what_agents_begin() {
    found_by(Bug::CountsNothingThatAgentsBegin, &["what_agents_begin_by_themselves_is_counted"]);
}

#[test]
fn a_store_that_tries_pages_once() {
    found_by(Bug::TriesPagesOnce, &["a_page_that_failed_is_made_again"]);
}

#[test]
fn a_store_that_ignores_the_fence() {
    found_by(Bug::IgnoresTheFence, &["a_replaced_worker_is_fenced_off", "a_replaced_worker_is_not_told_that_it_has_written"]);
    found_by(Bug::IgnoresTheFence, &["random_walks_keep_the_invariants"]);
}

#[test]
fn a_store_that_skips_the_tenant_in_search() {
    let names = ["another_tenant_gets_nothing", "everybody_sees_their_own_and_no_more", "random_walks_keep_the_invariants"];
    found_by(Bug::SkipsTheTenantInSearch, &names);
}

#[test]
fn a_store_that_skips_the_user_in_search() {
    let names = ["another_user_gets_nothing", "membership_is_in_force_at_once", "recall_belongs_to_the_pair"];
    found_by(Bug::SkipsTheUserInSearch, &names);
}

#[test]
fn a_store_that_loses_the_last_message_of_a_commit() {
    found_by(Bug::LosesTheLastMessageOfACommit, &["a_turns_messages_stay_together", "random_walks_keep_the_invariants"]);
}

#[test]
fn a_store_that_applies_a_repeated_commit_again() {
    found_by(Bug::AppliesARepeatedCommitAgain, &["a_repeated_commit_changes_nothing", "random_walks_keep_the_invariants"]);
}

#[test]
fn a_store_that_forgets_idempotency_keys() {
    let names = ["the_same_request_gets_the_same_run", "another_request_may_not_reuse_a_key", "repeating_at_once_makes_one_run"];
    found_by(Bug::ForgetsIdempotencyKeys, &names);
}

#[test]
fn a_store_without_a_queue_depth() {
    found_by(Bug::AcceptsWithoutAQueue, &["a_queue_has_a_depth"]);
}

#[test]
fn a_store_that_accepts_answers_anywhere() {
    found_by(Bug::AcceptsAnywhere, &["what_goes_on_after_a_message_is_accepted_once"]);
}

#[test]
fn a_store_that_forgets_tools_of_callers() {
    found_by(Bug::ForgetsToolsOfCallers, &["tools_of_a_caller_are_kept_with_the_run"]);
}

#[test]
fn a_store_whose_pages_include_their_start() {
    found_by(Bug::PagesIncludeTheirStart, &["pages_run_both_ways_from_any_place"]);
}

#[test]
fn a_store_that_deletes_nothing() {
    found_by(Bug::DeletesNothing, &["deleted_passages_are_gone", "deleted_vectors_are_not_compared"]);
}

#[test]
fn a_store_that_inserts_over_what_is_there() {
    found_by(Bug::InsertsOverWhatIsThere, &["inserting_at_once_stores_one"]);
}

#[test]
fn a_store_that_erases_half() {
    found_by(Bug::ErasesHalf, &["an_erased_conversation_is_gone"]);
}

#[test]
fn a_store_that_mixes_generations() {
    found_by(Bug::MixesGenerations, &["generations_never_mix"]);
}

#[test]
fn a_store_that_does_not_wait() {
    found_by(Bug::FollowsNothing, &["following_wakes_up"]);
}

#[test]
fn a_store_that_tells_foreign_from_random() {
    found_by(Bug::TellsForeignFromRandom, &["another_tenant_gets_nothing", "another_user_gets_nothing", "another_turn_gets_nothing"]);
}

#[test]
fn a_store_that_says_that_it_is_durable() {
    found_by(Bug::SaysThatItIsDurable, &["what_was_acknowledged_survives", "a_run_survives_the_process"]);
}

#[test]
fn a_store_that_grants_any_reservation() {
    let names = ["reservations_stop_at_the_limit", "reservations_expire", "reserving_at_once_spends_nothing_twice"];
    found_by(Bug::GrantsAnyReservation, &names);
}

#[test]
fn a_store_that_counts_the_steps_of_others() {
    found_by(Bug::CountsStepsOfOthers, &["the_token_ledger_is_the_sum_of_all_steps"]);
}

#[test]
fn a_store_that_claims_beyond_the_share() {
    found_by(Bug::ClaimsBeyondTheShare, &["no_tenant_takes_more_than_its_share"]);
}

#[test]
fn a_store_that_writes_items_whatever_was_read() {
    let names = ["changes_count_versions", "of_several_who_change_one_version_one_does", "writes_are_all_or_none"];
    found_by(Bug::WritesItemsUnseen, &names);
}

#[test]
fn a_store_that_writes_items_one_by_one() {
    found_by(Bug::WritesItemsOneByOne, &["writes_are_all_or_none"]);
}

#[test]
fn a_store_that_lets_assistants_share() {
    found_by(Bug::LetsAssistantsShare, &["only_the_owner_shares"]);
}

#[test]
fn a_store_that_lists_items_with_gaps() {
    found_by(Bug::ListsItemsWithGaps, &["items_are_listed_in_pages"]);
}

#[test]
fn a_store_that_lists_bodies() {
    found_by(Bug::ListsBodies, &["lists_filter"]);
}

#[test]
fn a_store_that_tells_turns_of_the_log() {
    found_by(Bug::TellsTurnsOfTheLog, &["everybody_reads_their_part_of_the_log"]);
}

#[test]
fn a_store_that_forgets_entries() {
    found_by(Bug::ForgetsEntriesOfOthers, &["entries_come_back_as_they_were"]);
}

#[test]
fn a_store_that_tells_people_of_toolsets() {
    found_by(Bug::TellsPeopleOfToolsets, &["toolsets_are_the_tenants"]);
}

#[test]
fn a_store_in_which_turns_put_egos() {
    found_by(Bug::LetsTurnsPutEgos, &["egos_are_the_tenants"]);
}

#[test]
fn a_store_that_puts_egos_over_any_version() {
    found_by(Bug::PutsEgosOverAnyVersion, &["egos_change_by_version"]);
}

#[test]
fn a_store_that_tells_turns_of_themselves_alone() {
    found_by(Bug::TellsTurnsOfThemselvesAlone, &["the_roster_is_the_tenants"]);
}

#[test]
fn a_store_in_which_agents_approve() {
    found_by(Bug::LetsAgentsApprove, &["an_agent_approves_nothing"]);
}

#[test]
fn a_store_that_approves_again() {
    found_by(Bug::ApprovesAgain, &["an_approval_is_decided_once"]);
}

#[test]
fn a_store_that_tells_others_of_approvals() {
    found_by(Bug::TellsOthersOfApprovals, &["approvals_are_seen_by_those_of_the_conversation"]);
}

#[test]
fn a_store_that_changes_tasks_of_any_version() {
    found_by(Bug::ChangesTasksOfAnyVersion, &["tasks_change_by_version_and_state"]);
}

#[test]
fn a_store_that_tells_everybody_of_tasks() {
    found_by(Bug::TellsEverybodyOfTasks, &["tasks_are_seen_by_those_whose_they_are"]);
}

#[test]
fn a_store_that_strands_tasks_whose_run_is_missing() {
    found_by(Bug::StrandsTasksWhoseRunIsMissing, &["tasks_are_due_when_something_is_to_be_done"]);
}

#[test]
fn a_store_that_begins_every_task_at_once() {
    found_by(Bug::BeginsEveryTaskAtOnce, &["due_tasks_are_fair"]);
}

#[test]
fn a_store_that_puts_toolsets_over_any_version() {
    found_by(Bug::PutsToolsetsOverAnyVersion, &["toolsets_change_by_version"]);
}

#[test]
fn a_store_that_fires_timers_of_any_version() {
    found_by(Bug::FiresTimersOfAnyVersion, &["a_firing_is_one_change", "an_occurrence_has_one_run"]);
}

#[test]
fn a_store_that_fires_beside_the_timer() {
    found_by(Bug::FiresBesideTheTimer, &["a_firing_is_one_change"]);
}

#[test]
fn a_store_that_holds_no_timers() {
    found_by(Bug::HoldsNoTimers, &["due_timers_are_taken_and_held", "due_timers_are_taken_by_one"]);
}

#[test]
fn a_store_that_keeps_timers_of_the_erased() {
    found_by(Bug::KeepsTimersOfTheErased, &["timers_go_with_their_people"]);
}

#[test]
fn a_store_that_forgets_where_pages_come_from() {
    found_by(Bug::ForgetsSourcesOfPages, &["a_period_has_one_page", "pages_are_found"]);
}

#[test]
fn a_store_that_forgets_where_timers_come_from() {
    found_by(Bug::ForgetsSourcesOfTimers, &["timers_are_kept_as_they_were_made"]);
}

#[test]
fn a_store_that_settles_any_version_of_a_document() {
    found_by(Bug::SettlesAnyVersion, &["a_document_is_found_when_it_was_read"]);
}

#[test]
fn a_store_that_keeps_parts_of_the_version_before() {
    found_by(Bug::KeepsOldParts, &["a_document_is_found_when_it_was_read"]);
}

#[test]
fn a_store_that_takes_documents_that_are_held() {
    found_by(Bug::TakesWhatIsHeld, &["unread_documents_are_taken_and_held"]);
}

#[test]
fn a_store_that_keeps_the_same_bytes_twice() {
    found_by(Bug::KeepsTheSameBytesTwice, &["the_same_bytes_are_one_document"]);
}

#[test]
fn a_store_that_tells_others_of_documents() {
    found_by(Bug::TellsOthersOfDocuments, &["documents_are_seen_by_their_people"]);
}

#[test]
fn a_store_that_shows_images_to_anybody() {
    found_by(Bug::ShowsImagesToAnybody, &["images_are_seen_by_their_people"]);
}

#[test]
fn a_store_that_counts_images_blindly() {
    found_by(Bug::CountsImagesBlindly, &["images_of_a_day_have_a_limit", "the_last_image_of_a_day_is_one"]);
}

#[test]
fn a_store_that_keeps_images_of_the_erased() {
    found_by(Bug::KeepsImagesOfTheErased, &["images_go_with_their_conversation"]);
}

#[test]
fn a_store_that_tells_webhooks_beside_the_commit() {
    found_by(Bug::TellsBesideTheCommit, &["ended_runs_are_told_with_their_commit"]);
}

#[test]
fn a_store_that_holds_no_deliveries() {
    found_by(
        Bug::HoldsNoDeliveries,
        &["deliveries_are_taken_and_held", "deliveries_are_taken_by_one", "what_is_asked_for_again_is_tried_by_one"],
    );
}

#[test]
fn a_store_that_ends_any_attempt() {
    found_by(Bug::EndsAnyAttempt, &["an_attempt_ends_once"]);
}

#[test]
fn a_store_that_forgets_the_order_of_deliveries() {
    found_by(Bug::ForgetsTheOrder, &["conversations_are_told_in_order"]);
}

#[test]
fn a_store_that_tells_others_of_webhooks() {
    found_by(Bug::TellsOthersOfWebhooks, &["webhooks_are_the_tenants"]);
}

#[test]
fn a_store_that_sends_to_the_disabled() {
    found_by(Bug::SendsToTheDisabled, &["disabled_webhooks_wait", "ended_runs_are_told_with_their_commit"]);
}
