//! The one place where filters are made: the tenant is always in them.

use qdrant_client::qdrant::{Condition, Filter, Range};
use sid_store::{PointFilter, RecordKind, VectorQuery};
use sid_types::TenantId;

use crate::point::{field, kind_number, role_number};

fn of_tenant(tenant: TenantId) -> Condition {
    Condition::matches(field::TENANT, tenant.uuid().to_string())
}

/// Numbers from one on, and before another. Qdrant compares numbers as doubles, which hold these exactly up to 2^53.
fn between(name: &str, from: Option<i64>, to: Option<i64>) -> Condition {
    Condition::range(name, Range { gte: from.map(|n| n as f64), lt: to.map(|n| n as f64), ..Range::default() })
}

/// What a search looks at.
pub(crate) fn of_query(asked: &VectorQuery<'_>) -> Filter {
    let query = asked.query;
    let mut must = vec![of_tenant(asked.tenant), Condition::matches(field::PARTITION, asked.partitions.to_vec())];
    let kinds: Vec<i64> = query.kinds.asked().map(kind_number).collect();
    // Roles and conversations are messages'.
    let kinds = if query.conversation.is_some() || query.role.is_some() { vec![kind_number(RecordKind::Message)] } else { kinds };
    if kinds.len() < 3 {
        must.push(Condition::matches(field::KIND, kinds));
    }
    if let Some(conversation) = query.conversation {
        must.push(Condition::matches(field::CONVERSATION, conversation.uuid().to_string()));
    }
    if let Some(role) = query.role {
        must.push(Condition::matches(field::ROLE, role_number(role)));
    }
    if let Some(span) = query.within {
        must.push(between(field::AT, Some(span.from.as_microsecond()), Some(span.to.as_microsecond())));
    }
    let mut filter = Filter::must(must);
    if let Some((conversation, from)) = query.in_prompt {
        let conversation = Condition::matches(field::CONVERSATION, conversation.uuid().to_string());
        let from = between(field::SEQ, Some(i64::try_from(from.0).unwrap_or(i64::MAX)), None);
        filter.must_not.push(Filter::must([conversation, from]).into());
    }
    filter
}

/// Points of one partition.
pub(crate) fn of_points(which: &PointFilter) -> Filter {
    let mut must = vec![of_tenant(which.tenant), Condition::matches(field::PARTITION, which.partition)];
    if let Some(conversation) = which.conversation {
        must.push(Condition::matches(field::CONVERSATION, conversation.uuid().to_string()));
    }
    if let Some(records) = &which.records {
        must.push(Condition::matches(field::RECORD, records.clone()));
    }
    if let Some(before) = which.before {
        must.push(between(field::VERSION, None, Some(before)));
    }
    Filter::must(must)
}

#[cfg(test)]
mod tests {
    use qdrant_client::qdrant::condition::ConditionOneOf;
    use sid_store::{RecordKinds, SearchQuery};
    use sid_types::{ConversationId, Role, Seq};

    use super::*;

    fn keys(conditions: &[Condition]) -> Vec<&str> {
        let key = |c: &Condition| match &c.condition_one_of {
            Some(ConditionOneOf::Field(field)) => Some(field.key.clone()),
            _ => None,
        };
        let keys: Vec<String> = conditions.iter().filter_map(key).collect();
        [field::TENANT, field::PARTITION, field::KIND, field::CONVERSATION, field::ROLE, field::AT, field::RECORD, field::VERSION]
            .into_iter()
            .filter(|name| keys.iter().any(|k| k == name))
            .collect()
    }

    #[test]
    fn every_filter_names_the_tenant_and_the_partition() {
        let tenant = TenantId::new();
        let mut query = SearchQuery::new("");
        let asked = |query: &SearchQuery| of_query(&VectorQuery { tenant, partitions: &[1, 2], query, limit: 10 });
        assert_eq!(keys(&asked(&query).must), ["tenant", "part"]);
        query.kinds = RecordKinds::PASSAGES;
        assert_eq!(keys(&asked(&query).must), ["tenant", "part", "kind"]);
        query.role = Some(Role::User);
        query.conversation = Some(ConversationId::new());
        query.in_prompt = Some((ConversationId::new(), Seq(3)));
        let filter = asked(&query);
        assert_eq!(keys(&filter.must), ["tenant", "part", "kind", "conv", "role"]);
        assert_eq!(filter.must_not.len(), 1);
        let all = PointFilter::partition(tenant, 7);
        assert_eq!(keys(&of_points(&all).must), ["tenant", "part"]);
        let some = PointFilter { records: Some(vec![4]), before: Some(9), ..all };
        assert_eq!(keys(&of_points(&some).must), ["tenant", "part", "record", "version"]);
    }
}
