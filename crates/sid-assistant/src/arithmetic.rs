//! The calculator.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sid_tools::Tool;

/// Bytes of an expression.
const LONGEST: usize = 500;
/// For an expression that is all brackets: each takes its part of the stack, some 50 KiB without optimisation.
const STACK: usize = 64 << 20;
/// For one expression. What takes longer is a number too large to write down.
const TIME: Duration = Duration::from_millis(500);

/// The calculator.
#[must_use]
pub fn calculator() -> Vec<Arc<dyn Tool>> {
    vec![Arc::new(CalculatorTool)]
}

struct Until(Instant);

impl fend_core::Interrupt for Until {
    fn should_interrupt(&self) -> bool {
        Instant::now() > self.0
    }
}

/// Calculates. Decimals and fractions are exact. Knows + - * / ^ %, brackets, functions such as sqrt, sin, ln, round and factorial (5!), units and
/// their conversion (`3 ft to cm`, `90 km/h in mph`), and bases (`255 to hex`). Does no currencies.
#[sid_tools::tool(read, timeout_ms = 5_000, name = "calculator")]
async fn calculator_tool(
    /// What to calculate, such as `(19.99 * 3 + 4.50) * 1.19`.
    expression: String,
) -> Result<String, String> {
    if expression.len() > LONGEST {
        return Err(format!("The expression has more than {LONGEST} bytes: calculate it in parts."));
    }
    // A thread may be busy with it for as long as it may take.
    tokio::task::spawn_blocking(move || evaluate(&expression)).await.unwrap_or_else(|_| Err("It cannot be calculated.".into()))
}

fn evaluate(expression: &str) -> Result<String, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("calculator".into()).stack_size(STACK).spawn_scoped(scope, || calculate(expression));
        // A panic of the calculator's is told as any failure is.
        thread.ok().and_then(|t| t.join().ok()).unwrap_or_else(|| Err("It cannot be calculated.".into()))
    })
}

fn calculate(expression: &str) -> Result<String, String> {
    // A new one each time: what one call defines is nothing to another.
    let mut context = fend_core::Context::new();
    let until = Until(Instant::now() + TIME);
    match fend_core::evaluate_with_interrupt(expression, &mut context, &until) {
        Ok(result) if result.get_main_result().is_empty() => Err("There is nothing to calculate.".into()),
        Ok(result) => Ok(result.get_main_result().to_owned()),
        Err(_) if until.0 < Instant::now() => Err("It takes too long: the numbers are too large.".into()),
        Err(problem) => Err(format!("It cannot be calculated: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        for (expression, expected) in [
            ("0.1 + 0.2", "0.3"),
            ("(19.99 * 3 + 4.50) * 1.19", "76.7193"),
            ("2^100", "1267650600228229401496703205376"),
            ("1/3 + 1/6", "0.5"),
            ("20!/18!", "380"),
            ("15% of 80", "12"),
            ("3 ft to cm", "91.44 cm"),
            ("-7 * (2 - 5)", "21"),
        ] {
            assert_eq!(evaluate(expression).as_deref(), Ok(expected), "{expression}");
        }
        assert!(evaluate("1/3").expect("a number").starts_with("approx. 0.33"), "what is not exact says so");
    }

    #[test]
    fn what_cannot_be_calculated_says_so_in_time() {
        for expression in ["1/0", "2 +", "", "nonsense of mine", "9^9^9^9", "100000!!", "1000000000!", "(((((", "10^(10^10)"] {
            let began = Instant::now();
            assert!(evaluate(expression).is_err(), "{expression}");
            assert!(began.elapsed() < Duration::from_secs(20), "{expression}: {:?}", began.elapsed());
        }
    }

    #[test]
    fn deep_brackets_are_survived() {
        let _ = evaluate(&"(".repeat(LONGEST));
        let _ = evaluate(&"-".repeat(LONGEST));
        let _ = evaluate(&format!("{}1", "2^".repeat(LONGEST / 2 - 1)));
    }
}
