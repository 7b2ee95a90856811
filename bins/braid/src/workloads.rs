//! `braid workloads`: what blocks can be generated.

use crate::{
    Exit,
    args::WorkloadsArgs,
    json::{ParameterEntry, SCHEMA, WorkloadEntry, WorkloadsDocument},
    progress::Ui,
    render,
};
use braid_work::synth::{Kind, Parameter};

/// Carries the command out.
pub(crate) fn list(args: &WorkloadsArgs, ui: &mut Ui<'_>) -> Exit {
    let chosen = |kind: &Kind| args.name.as_deref().is_none_or(|name| name == kind.name());
    let workloads: Vec<WorkloadEntry> = Kind::ALL.into_iter().filter(chosen).map(entry).collect();
    if workloads.is_empty() {
        let names = Kind::ALL.map(Kind::name).join(", ");
        ui.error(format!("unknown workload `{}` (there are: {names})", args.name.as_deref().unwrap_or("")));
        return Exit::Usage;
    }
    if args.json {
        ui.result(&crate::to_json(&WorkloadsDocument { schema: SCHEMA, command: "workloads", workloads }));
    } else {
        ui.result(&render::workloads(&workloads, ui.color_out));
        ui.hint("braid compare --on 'swaps?pools=10&zipf=1.1'");
    }
    Exit::Ok
}

fn entry(kind: Kind) -> WorkloadEntry {
    let parameters = kind.parameters().iter().chain(kind.block_gas()).map(parameter).collect();
    WorkloadEntry { name: kind.name(), about: kind.about(), parameters }
}

fn parameter(parameter: &Parameter) -> ParameterEntry {
    ParameterEntry {
        name: parameter.name,
        default: parameter.default.map(|value| parameter.show(value)),
        possible: parameter.form.to_string(),
        about: parameter.about,
    }
}
