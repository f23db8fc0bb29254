//! The language of queries: one condition in a subset of CEL, on one robot at a time.
//!
//! Pure. The crate `cel` parses and evaluates; here it is decided what of the language there is, so
//! that what an evaluation costs is bounded by the expression's length, and a fault is found when it
//! is written and not robot by robot. A condition that cannot be decided, because a robot does not
//! say what it is about, is not met.

use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, SourceInfo, operators};
use cel::context::VariableResolver;
use cel::parser::Parser;
use cel::{Context, Env, IdedExpr, ParseError, Value};
use protocol::Refusal;
use protocol::wire::QueryFault;

use super::scan::{self, Fault, Scanned};

/// The functions and operators that there are.
const FUNCTIONS: [&str; 23] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::IN,
    operators::NOT_STRICTLY_FALSE,
    "size",
    "startsWith",
    "endsWith",
    "contains",
];

/// Operators whose result is no condition.
const ARITHMETIC: [&str; 7] = [
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::NEGATE,
    "size",
];

/// Operators on numbers of one type.
const DOUBLES: [&str; 4] = [
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
];

/// The deepest tree that is evaluated.
const DEPTH_MAX: usize = 100;

/// What is known of every expression: the standard functions.
static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A condition that makes sense.
#[derive(Debug, Clone)]
pub struct Filter {
    /// `None`: every robot.
    condition: Option<IdedExpr>,
    /// The place of the first name of this kind: what grows older without being said.
    age: Option<QueryFault>,
}

/// What a check goes through the tree with.
struct Check<'s> {
    scanned: &'s Scanned,
    source: &'s SourceInfo,
    age: Option<QueryFault>,
}

impl Filter {
    /// Understands an expression. An empty one is met by every robot.
    ///
    /// # Errors
    /// *Query*, with the place of the fault.
    pub fn compile(expression: &str) -> Result<Self, Refusal> {
        if expression.trim().is_empty() {
            return Ok(Self {
                condition: None,
                age: None,
            });
        }
        let scanned = scan::scan(expression).map_err(|fault| refusal(expression, &fault))?;
        let parsed = Parser::new()
            .max_recursion_depth(64)
            .error_recovery_limit(1)
            .parse_with_source_info(&scanned.source);
        let (mut condition, source) = parsed.map_err(|errors| {
            let first = errors.errors.iter().min_by_key(|error| error.pos);
            let fault = first.map_or_else(|| scanned.fault(0, 0, "?"), |it| misread(&scanned, it));
            refusal(expression, &fault)
        })?;
        let mut check = Check {
            scanned: &scanned,
            source: &source,
            age: None,
        };
        check
            .tree(&mut condition, 0, false)
            .and_then(|()| check.is_condition(&condition))
            .map_err(|fault| refusal(expression, &fault))?;
        Ok(Self {
            age: check.age,
            condition: Some(condition),
        })
    }

    /// Whether a robot meets it.
    #[must_use]
    pub fn is_met(&self, robot: &dyn VariableResolver) -> bool {
        let Some(condition) = &self.condition else {
            return true;
        };
        let mut context = Context::with_env(Arc::clone(&LANGUAGE));
        context.set_variable_resolver(robot);
        matches!(Value::resolve(condition, &context), Ok(Value::Bool(true)))
    }

    /// The place at which it asks how old something is, if it does: what such a condition means
    /// changes by itself.
    #[must_use]
    pub const fn age(&self) -> Option<QueryFault> {
        self.age
    }
}

/// The refusal of a fault.
pub(super) fn refusal(expression: &str, fault: &Fault) -> Refusal {
    let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let at: String = expression.chars().skip(fault.offset).take(24).collect();
    let near = if at.is_empty() { "its end" } else { &at };
    Refusal::query(
        format!(
            "query: at character {}, `{near}`: {}",
            fault.offset + 1,
            fault.why
        ),
        QueryFault {
            offset: place(fault.offset),
            length: place(fault.length),
            ..QueryFault::default()
        },
    )
}

/// CEL adds no number to one of another type, and whatever robots say is a double: so are the whole
/// numbers that are written beside it. A size is whole.
fn make_doubles(call: &mut CallExpr) {
    let is_size = |node: &IdedExpr| matches!(&node.expr, Expr::Call(of) if of.func_name == "size");
    if !DOUBLES.contains(&call.func_name.as_str()) || call.args.iter().any(is_size) {
        return;
    }
    for argument in &mut call.args {
        if let Expr::Literal(LiteralValue::Int(whole)) = &argument.expr {
            #[expect(clippy::cast_precision_loss, reason = "as CEL's own double() does")]
            let double = *whole.inner() as f64;
            argument.expr = Expr::Literal(LiteralValue::Double(double.into()));
        }
    }
}

/// The parser says a line, which is the only one, and a column from 1.
fn misread(scanned: &Scanned, error: &ParseError) -> Fault {
    let column = usize::try_from(error.pos.1).unwrap_or(0);
    let byte = column.saturating_sub(1).min(scanned.source.len());
    let why = error.msg.lines().next().unwrap_or("it does not parse");
    scanned.fault(byte, byte + 1, scanned.named(why.to_owned()))
}

impl Check<'_> {
    fn fault(&self, id: u64, why: impl Into<String>) -> Fault {
        let (from, to) = self.source.offset_for(id).unwrap_or_default();
        let byte = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        // The parser names the last byte.
        self.scanned
            .fault(byte(from), byte(to).saturating_add(1), why)
    }

    /// Gives names back what they are, and refuses what there is not.
    fn tree(&mut self, node: &mut IdedExpr, depth: usize, in_loop: bool) -> Result<(), Fault> {
        let id = node.id;
        if depth > DEPTH_MAX {
            return Err(self.fault(id, "this is too deep"));
        }
        let deeper = depth + 1;
        match &mut node.expr {
            Expr::Literal(LiteralValue::Bytes(_)) | Expr::Map(_) | Expr::Struct(_) => {
                Err(self.fault(id, "there are texts, numbers, true, false and lists"))
            }
            Expr::Literal(_) | Expr::Unspecified => Ok(()),
            Expr::Ident(name) => {
                *name = self.scanned.name(name).to_owned();
                if name == "age" && self.age.is_none() {
                    let fault = self.fault(id, "");
                    let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                    self.age = Some(QueryFault {
                        offset: place(fault.offset),
                        length: place(fault.length),
                        ..QueryFault::default()
                    });
                }
                Ok(())
            }
            Expr::Select(select) => {
                select.field = self.scanned.name(&select.field).to_owned();
                self.tree(&mut select.operand, deeper, in_loop)
            }
            Expr::Call(call) => {
                if !FUNCTIONS.contains(&call.func_name.as_str()) {
                    return Err(self.no_function(id, &call.func_name));
                }
                make_doubles(call);
                let target = call.target.iter_mut().map(|target| &mut **target);
                for argument in target.chain(&mut call.args) {
                    self.tree(argument, deeper, in_loop)?;
                }
                Ok(())
            }
            Expr::List(list) => {
                let mut elements = list.elements.iter_mut();
                elements.try_for_each(|element| self.tree(element, deeper, in_loop))
            }
            Expr::Comprehension(_) if in_loop => {
                Err(self.fault(id, "a loop over a list has no other loop in it"))
            }
            Expr::Comprehension(its) => {
                let ComprehensionExpr {
                    iter_range,
                    iter_var,
                    iter_var2,
                    accu_init,
                    loop_cond,
                    loop_step,
                    result,
                    ..
                } = &mut **its;
                *iter_var = self.scanned.name(iter_var).to_owned();
                if let Some(second) = iter_var2 {
                    *second = self.scanned.name(second).to_owned();
                }
                let parts = [iter_range, accu_init, loop_cond, loop_step, result];
                parts
                    .into_iter()
                    .try_for_each(|part| self.tree(part, deeper, true))
            }
        }
    }

    /// The parser knows the place of the bracket: the name is before it.
    fn no_function(&self, id: u64, name: &str) -> Fault {
        let why = format!("there is no function `{}`", self.scanned.name(name));
        let (bracket, _) = self.source.offset_for(id).unwrap_or_default();
        let bracket = usize::try_from(bracket).unwrap_or(usize::MAX);
        let before = self.scanned.source.get(..bracket);
        if before.is_some_and(|before| before.ends_with(name)) {
            return self.scanned.fault(bracket - name.len(), bracket, why);
        }
        self.fault(id, why)
    }

    /// Something that is met or not, as far as it shows.
    fn is_condition(&self, root: &IdedExpr) -> Result<(), Fault> {
        let is_one = match &root.expr {
            Expr::Call(call) => !ARITHMETIC.contains(&call.func_name.as_str()),
            Expr::Literal(literal) => matches!(literal, LiteralValue::Boolean(_)),
            Expr::Ident(_) | Expr::Select(_) | Expr::Comprehension(_) => true,
            Expr::List(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => false,
        };
        if is_one {
            return Ok(());
        }
        Err(self.scanned.fault(
            0,
            self.scanned.source.len(),
            "this is no condition: compare it with something",
        ))
    }
}

#[cfg(test)]
mod tests;
