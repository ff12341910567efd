//! Local variables as short texts.
//!
//! Nothing of the target is run, so an object of a Python class shows as its class and address.

use std::sync::Arc;

use asyncspy_model::RemoteAddr;

use super::code::CodeInfo;
use super::frame::{RawFrame, read_local};
use super::object::Objects;
use super::types::{TypeCache, TypeKind};
use crate::target::memory::{MemoryError, MemoryViewExt};

/// Longest text of one variable, in characters.
const MAX_TEXT: usize = 200;

/// Most items shown of a container.
const MAX_SHOWN: usize = 10;

/// Deepest nesting of containers shown; also ends containers that hold themselves.
const MAX_DEPTH: usize = 3;

/// (name, text) of each local variable of a frame that is set.
pub fn read_locals(
    objects: Objects<'_>,
    types: &mut TypeCache,
    frame: &RawFrame,
    code: &CodeInfo,
) -> Vec<(Arc<str>, Arc<str>)> {
    let Ok(names) = code.local_names(objects) else {
        return vec![(Arc::from("?"), Arc::from("<unreadable>"))];
    };
    let mut found = Vec::new();
    for (slot, name) in names.0.iter().enumerate() {
        let Ok(value) = read_local(objects, frame.addr, slot as u64) else {
            continue;
        };
        if value.is_null() {
            continue;
        }
        let mut text = String::new();
        if (Writer { objects, types })
            .write(value, 0, &mut text)
            .is_err()
        {
            text.push_str("<unreadable>");
        }
        found.push((name.clone(), shorten(&text).into()));
    }
    found
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= MAX_TEXT {
        return text.to_owned();
    }
    text.chars().take(MAX_TEXT - 1).chain(['…']).collect()
}

struct Writer<'a, 't> {
    objects: Objects<'a>,
    types: &'t mut TypeCache,
}

impl Writer<'_, '_> {
    fn write(
        &mut self,
        value: RemoteAddr,
        depth: usize,
        out: &mut String,
    ) -> Result<(), MemoryError> {
        if out.len() > 4 * MAX_TEXT {
            return Ok(());
        }
        let info = self.types.of_object(self.objects, value)?;
        let (kind, class) = (info.kind, info.name.clone());
        match kind {
            TypeKind::None => out.push_str("None"),
            TypeKind::Int => self.write_int(value, &class, out)?,
            TypeKind::Float => out.push_str(&format!("{:?}", self.objects.read_float(value)?)),
            TypeKind::Str => {
                let text = self.objects.read_str_up_to(value, MAX_TEXT as u64)?;
                let more = if text.cut { "…" } else { "" };
                out.push_str(&format!("{:?}{more}", text.text));
            }
            TypeKind::Bytes => self.write_bytes(value, out)?,
            TypeKind::Cell => {
                let inside = self.objects.view.read_ptr(value.offset(16))?;
                if inside.is_null() {
                    out.push_str("<unset>");
                } else {
                    self.write(inside, depth, out)?;
                }
            }
            TypeKind::List | TypeKind::Tuple | TypeKind::Set | TypeKind::Dict
                if depth >= MAX_DEPTH =>
            {
                out.push('…');
            }
            TypeKind::List => {
                let items = self.objects.list_items(value)?;
                self.write_items(&items, "[", "]", depth, out)?;
            }
            TypeKind::Tuple => {
                let items = self.objects.tuple_items(value)?;
                self.write_items(&items, "(", ")", depth, out)?;
            }
            TypeKind::Set => {
                let items = self.objects.set_items(value)?;
                self.write_items(&items, "{", "}", depth, out)?;
            }
            TypeKind::Dict => self.write_dict(value, depth, out)?,
            _ => out.push_str(&format!("<{class} at {value}>")),
        }
        Ok(())
    }

    fn write_int(
        &self,
        value: RemoteAddr,
        class: &str,
        out: &mut String,
    ) -> Result<(), MemoryError> {
        let number = self.objects.read_int(value)?;
        out.push_str(&match (class, number) {
            ("bool", Some(0)) => "False".to_owned(),
            ("bool", _) => "True".to_owned(),
            (_, Some(number)) => number.to_string(),
            (_, None) => format!("<{class} beyond 64 bits>"),
        });
        Ok(())
    }

    fn write_bytes(&self, value: RemoteAddr, out: &mut String) -> Result<(), MemoryError> {
        let length = self.objects.view.read_u64(value.offset(16))?;
        let shown = length.min(MAX_TEXT as u64) as usize;
        let bytes = self.objects.view.read_vec(value.offset(32), shown)?;
        let more = if length > shown as u64 { "…" } else { "" };
        out.push_str(&format!("b\"{}\"{more}", bytes.escape_ascii()));
        Ok(())
    }

    fn write_items(
        &mut self,
        items: &[RemoteAddr],
        open: &str,
        close: &str,
        depth: usize,
        out: &mut String,
    ) -> Result<(), MemoryError> {
        out.push_str(open);
        for (index, item) in items.iter().take(MAX_SHOWN).enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            self.write(*item, depth + 1, out)?;
        }
        if items.len() > MAX_SHOWN {
            out.push_str(&format!(", … {} more", items.len() - MAX_SHOWN));
        }
        out.push_str(close);
        Ok(())
    }

    fn write_dict(
        &mut self,
        value: RemoteAddr,
        depth: usize,
        out: &mut String,
    ) -> Result<(), MemoryError> {
        let items = self.objects.dict_items(value)?;
        out.push('{');
        for (index, (key, item)) in items.iter().take(MAX_SHOWN).enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            self.write(*key, depth + 1, out)?;
            out.push_str(": ");
            self.write(*item, depth + 1, out)?;
        }
        if items.len() > MAX_SHOWN {
            out.push_str(&format!(", … {} more", items.len() - MAX_SHOWN));
        }
        out.push('}');
        Ok(())
    }
}
