//! The bakery: what it sells, and the orders that it took.

use std::collections::BTreeMap;
use std::path::PathBuf;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sid_tools::{ToolContext, tool, toolbox};
use uuid::Uuid;

/// A bread that can be ordered.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bread {
    Rye,
    Wheat,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    bread: Bread,
    toppings: Vec<String>,
}

/// A shop with its order book in a file.
pub(crate) struct Bakery {
    book: PathBuf,
    orders: Mutex<BTreeMap<Uuid, Order>>,
}

/// Tells what a sandwich costs, in cents.
#[tool(read)]
pub(crate) async fn price(
    /// How many toppings it has.
    toppings: u32,
) -> u32 {
    350 + 50 * toppings
}

/// Functions that share the order book are methods.
#[toolbox]
impl Bakery {
    /// Orders a sandwich.
    // A call that Sid repeats after a crash has the token of the first one, and orders nothing more.
    #[tool(idempotent)]
    async fn order(
        &self,
        context: &ToolContext,
        /// Which bread.
        bread: Bread,
        /// What goes on it, at least one thing.
        toppings: Vec<String>,
    ) -> Result<String, String> {
        if toppings.is_empty() {
            return Err("What should go on it?".into());
        }
        let mut orders = self.orders.lock();
        orders.insert(context.token, Order { bread, toppings: toppings.clone() });
        self.write(&orders).map_err(|e| format!("The order book cannot be written: {e}"))?;
        Ok(format!("Order {} of today: {bread:?} with {}. It takes ten minutes.", orders.len(), toppings.join(", ")))
    }

    /// Lists all orders of today.
    #[tool(read)]
    async fn orders(&self) -> Vec<Order> {
        self.orders.lock().values().cloned().collect()
    }
}

impl Bakery {
    /// Opens the order book, or begins one.
    pub(crate) fn open(book: PathBuf) -> anyhow::Result<Self> {
        let orders = match std::fs::read(&book) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { book, orders: Mutex::new(orders) })
    }

    fn write(&self, orders: &BTreeMap<Uuid, Order>) -> std::io::Result<()> {
        // Written beside and renamed: the book is whole at any moment.
        let new = self.book.with_extension("new");
        std::fs::write(&new, serde_json::to_vec_pretty(orders)?)?;
        std::fs::rename(new, &self.book)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use sid_tools::{Registry, Toolbox as _};
    use sid_types::Timestamp;

    use super::*;

    #[tokio::test]
    async fn a_repeated_call_orders_once_and_the_book_outlives_the_program() {
        let folder = std::env::temp_dir().join(format!("bakery-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let open = || Arc::new(Bakery::open(folder.join("orders.json")).expect("a book"));
        let mut registry = Registry::new();
        for tool in open().tools() {
            registry.register(tool).expect("it registers");
        }
        let arguments = json!({"bread": "rye", "toppings": ["pickles"]}).as_object().cloned().expect("an object");
        let mut context = ToolContext::detached(Timestamp::UNIX_EPOCH);
        for _ in 0..2 {
            let said = registry.dispatch("order", arguments.clone(), &context).await;
            assert_eq!(said.text, "Order 1 of today: Rye with pickles. It takes ten minutes.");
        }
        context.token = Uuid::now_v7();
        assert!(registry.dispatch("order", arguments.clone(), &context).await.text.starts_with("Order 2"));
        let bad = json!({"bread": "stone", "toppings": []}).as_object().cloned().expect("an object");
        assert!(registry.dispatch("order", bad, &context).await.is_error);
        assert_eq!(open().orders().await.len(), 2);
        std::fs::remove_dir_all(&folder).expect("it goes");
    }
}
