//! From text to statements.

use super::{Block, Expression, Statement, YulError};
use alloy_primitives::U256;

/// Parses a whole program.
pub(super) fn program(source: &str) -> Result<Block, YulError> {
    let mut parser = Parser { tokens: tokens(source), at: 0 };
    let mut statements = Vec::new();
    while parser.at < parser.tokens.len() {
        statements.push(parser.statement()?);
    }
    Ok(statements)
}

/// Words, numbers, strings with their quotes, and signs, with their lines.
fn tokens(source: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let mut rest = line.split("//").next().unwrap_or_default().trim_start();
        while let Some(first) = rest.chars().next() {
            let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let length = match first {
                '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
                _ if word(first) => rest.find(|letter| !word(letter)).unwrap_or(rest.len()),
                _ if rest.starts_with(":=") || rest.starts_with("->") => 2,
                _ => first.len_utf8(),
            };
            let (token, after) = rest.split_at(length);
            found.push((number + 1, token));
            rest = after.trim_start();
        }
    }
    found
}

struct Parser<'a> {
    tokens: Vec<(usize, &'a str)>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &'a str {
        self.tokens.get(self.at).map_or("", |(_, token)| token)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(line, _)| *line)
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// Takes the token, if it is next.
    fn take(&mut self, token: &str) -> bool {
        let is_next = self.peek() == token;
        self.at += usize::from(is_next);
        is_next
    }

    fn unexpected<T>(&self, expected: &'static str) -> Result<T, YulError> {
        let found = if self.peek().is_empty() { "the end" } else { self.peek() };
        Err(YulError::Unexpected { line: self.line(), found: found.to_owned(), expected })
    }

    fn expect(&mut self, token: &'static str) -> Result<(), YulError> {
        if self.take(token) { Ok(()) } else { self.unexpected(token) }
    }

    fn name(&mut self) -> Result<String, YulError> {
        let starts_well = self.peek().starts_with(|letter: char| letter.is_ascii_alphabetic());
        if starts_well { Ok(self.next().to_owned()) } else { self.unexpected("a name") }
    }

    fn block(&mut self) -> Result<Block, YulError> {
        self.expect("{")?;
        let mut statements = Vec::new();
        while !self.take("}") {
            statements.push(self.statement()?);
        }
        Ok(statements)
    }

    fn statement(&mut self) -> Result<Statement, YulError> {
        match self.peek() {
            "let" => self.variable(),
            "if" => {
                self.next();
                Ok(Statement::If(self.expression()?, self.block()?))
            }
            "for" => {
                self.next();
                let (first, condition) = (self.block()?, self.expression()?);
                Ok(Statement::For { first, condition, next: self.block()?, body: self.block()? })
            }
            "switch" => self.switch(),
            "function" => self.function(),
            "leave" => {
                self.next();
                Ok(Statement::Leave)
            }
            _ => {
                let name = self.name()?;
                if self.take(":=") {
                    return Ok(Statement::Assign(name, self.expression()?));
                }
                self.at -= 1;
                Ok(Statement::Call(self.expression()?))
            }
        }
    }

    fn variable(&mut self) -> Result<Statement, YulError> {
        self.next();
        let name = self.name()?;
        let value = if self.take(":=") { Some(self.expression()?) } else { None };
        Ok(Statement::Let(name, value))
    }

    fn switch(&mut self) -> Result<Statement, YulError> {
        self.next();
        let (value, mut cases) = (self.expression()?, Vec::new());
        while self.take("case") {
            cases.push((self.expression()?, self.block()?));
        }
        let otherwise = if self.take("default") { self.block()? } else { Vec::new() };
        Ok(Statement::Switch { value, cases, otherwise })
    }

    fn function(&mut self) -> Result<Statement, YulError> {
        self.next();
        let name = self.name()?;
        self.expect("(")?;
        let mut takes = Vec::new();
        while !self.take(")") {
            takes.push(self.name()?);
            self.take(",");
        }
        let gives = if self.take("->") { Some(self.name()?) } else { None };
        Ok(Statement::Function { name, takes, gives, body: self.block()? })
    }

    fn expression(&mut self) -> Result<Expression, YulError> {
        let line = self.line();
        if self.peek().starts_with(|letter: char| letter.is_ascii_digit()) {
            let text = self.next();
            let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
            let number = U256::from_str_radix(digits, radix);
            return number
                .map(Expression::Number)
                .map_err(|_| YulError::Number { line, text: text.to_owned() });
        }
        let name = self.name()?;
        if !self.take("(") {
            return Ok(Expression::Variable(name));
        }
        if name == "selector" || name == "topic" {
            return self.signature(&name);
        }
        let mut arguments = Vec::new();
        while !self.take(")") {
            arguments.push(self.expression()?);
            if !self.take(",") && self.peek() != ")" {
                return self.unexpected("`,` or `)`");
            }
        }
        Ok(Expression::Call(name, arguments))
    }

    /// The number that a signature in quotes stands for.
    fn signature(&mut self, what: &str) -> Result<Expression, YulError> {
        let text = self.peek();
        let Some(text) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
            return self.unexpected("a signature in quotes");
        };
        self.next();
        self.expect(")")?;
        let hash = alloy_primitives::keccak256(text);
        let bytes = if what == "topic" { &hash[..] } else { &hash[..4] };
        Ok(Expression::Number(U256::from_be_slice(bytes)))
    }
}
