//! The page as HTML.

use std::fmt::{Display, Write as _};

use super::{Classes, Mistake, Output, Report};
use crate::metrics::ConfusionMatrix;
use crate::model::thousands;
use crate::plot;

/// Classes up to which a confusion matrix has columns of one width, to fit a phone.
const FEW_CLASSES: usize = 12;

/// Characters of a class's name that fit above a column; longer names stand upright.
const SHORT_NAME: usize = 2;

/// Probabilities that are shown of a mistake.
const RANKS: usize = 3;

pub(super) fn html(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{style}</style>\n</head>\n<body>\n<h1>{title}</h1>\n",
        title = escaped(&report.title),
        style = include_str!("page.css"),
    );
    page += &cards(report);
    page += &curves(report);
    page += "<div class=\"grid\">\n";
    page += &section("Model", &summary(report));
    page += &section("Settings", &settings(report));
    page += "</div>\n";
    if let Some(classes) = &report.classes {
        page += "<div class=\"grid\">\n";
        page += &section("Confusion matrix", &confusion(classes));
        page += &section("Classes", &per_class(classes));
        page += "</div>\n";
        page += &section("Most confidently wrong", &mistakes(classes));
    }
    if !report.outputs.is_empty() {
        page += "<div class=\"grid\">\n";
        page += &predicted_against_true(&report.outputs);
        page += &section("Errors", &errors(&report.outputs));
        page += "</div>\n";
    }
    page + "</body>\n</html>\n"
}

fn section(title: &str, body: &str) -> String {
    format!("<section>\n<h2>{title}</h2>\n{body}</section>\n")
}

/// The final figures, large.
fn cards(report: &Report) -> String {
    let mut cards = String::from("<div class=\"cards\">\n");
    let mut card = |name: &str, value: &dyn Display| {
        let name = escaped(&name.replace('_', " "));
        writeln!(
            cards,
            "<div class=\"card\"><span class=\"quiet\">{name}</span><span class=\"value\">{value}</span></div>"
        )
        .expect("a String takes everything");
    };
    for (name, value) in &report.figures {
        card(&format!("test {name}"), &format_args!("{value:.4}"));
    }
    let epochs = report.history.epochs();
    let last = epochs.len().checked_sub(1);
    // an epoch that the history does not have has no figures to show
    let kept = report.epoch.map_or(last, |epoch| epochs.iter().position(|&known| known == epoch));
    let of_epoch =
        if kept == last { String::new() } else { kept.map_or(String::new(), |at| format!(", epoch {}", epochs[at])) };
    for name in report.history.names() {
        if let Some(value) = kept.and_then(|at| report.history.get(name)?.get(at).copied()) {
            let (part, name) =
                name.strip_prefix("val_").map_or(("training", name.as_str()), |name| ("validation", name));
            card(&format!("{part} {name}{of_epoch}"), &format_args!("{value:.4}"));
        }
    }
    card("parameters", &thousands(report.summary.parameter_count()));
    let seconds = report.history.seconds();
    if !seconds.is_empty() {
        card("epochs", &seconds.len());
        if kept != last
            && let Some(epoch) = report.epoch
        {
            card("weights of epoch", &epoch);
        }
        card("training time", &format_args!("{:.1} s", seconds.iter().sum::<f64>()));
    }
    cards + "</div>\n"
}

fn curves(report: &Report) -> String {
    if report.history.is_empty() {
        return String::new();
    }
    let charts = plot::runs([("", &report.history)]).into_charts().map(picture);
    format!("<div class=\"grid\">\n{}</div>\n", charts.collect::<String>())
}

fn picture(chart: plot::Chart) -> String {
    format!("<section class=\"curves\">\n{}</section>\n", plot::Figure::from(chart).to_inline_svg())
}

/// A picture of each output.
fn predicted_against_true(outputs: &[Output]) -> String {
    let title = |output: &Output| match outputs.len() {
        1 => "Predicted against true".to_owned(),
        _ => format!("Predicted against true: {}", output.name),
    };
    outputs
        .iter()
        .filter(|output| !output.points.is_empty())
        .map(|output| picture(plot::Chart::predicted_against_true(title(output), output.points.clone())))
        .collect()
}

fn errors(outputs: &[Output]) -> String {
    let mut table = String::from(
        "<div class=\"scroll\"><table>\n<thead><tr><th></th><th class=\"number\">Mean absolute</th>\
         <th class=\"number\">Root mean square</th><th class=\"number\">R²</th><th class=\"number\">Values</th></tr></thead>\n\
         <tbody>\n",
    );
    for output in outputs {
        let r2 = output.r2.map_or("–".to_owned(), |r2| format!("{r2:.4}"));
        table += &format!(
            "<tr><th scope=\"row\">{}</th><td class=\"number\">{:.4}</td><td class=\"number\">{:.4}</td>\
             <td class=\"number\">{r2}</td><td class=\"number\">{}</td></tr>\n",
            output.name,
            output.mean_absolute_error,
            output.root_mean_squared_error,
            thousands(output.values)
        );
    }
    table += "</tbody></table></div>\n<p class=\"quiet\">R² is the share of the variance of the true values that the predictions \
              explain: 1 at best.";
    let undefined: usize = outputs.iter().map(|output| output.undefined).sum();
    if undefined > 0 {
        table += &format!(" {undefined} values or predictions were not finite and are left out.");
    }
    table + "</p>\n"
}

fn summary(report: &Report) -> String {
    let summary = report.summary.clone().multiply_adds();
    let mut table = String::from("<div class=\"scroll\"><table>\n<thead><tr>");
    let columns = summary.cells();
    for (heading, right, _) in &columns {
        table += &format!("<th{}>{heading}</th>", if *right { " class=\"number\"" } else { "" });
    }
    table += "</tr></thead>\n<tbody>\n";
    for row in 0..columns[0].2.len() {
        table += "<tr>";
        for (_, right, cells) in &columns {
            let class = if *right { " class=\"number\"" } else { "" };
            table += &format!("<td{class}>{}</td>", escaped(&cells[row]));
        }
        table += "</tr>\n";
    }
    let parameters = thousands(report.summary.parameter_count());
    table + &format!("</tbody></table></div>\n<p class=\"quiet\">{parameters} parameters</p>\n")
}

fn settings(report: &Report) -> String {
    let rows = report
        .settings
        .iter()
        .map(|(name, value)| format!("<tr><th>{}</th><td><code>{}</code></td></tr>\n", escaped(name), escaped(value)));
    format!("<table>\n<tbody>\n{}</tbody></table>\n", rows.collect::<String>())
}

fn confusion(classes: &Classes) -> String {
    let Classes { names, confusion, .. } = classes;
    let many = if names.len() > FEW_CLASSES { " many" } else { "" };
    let upright = if names.iter().any(|name| name.chars().count() > SHORT_NAME) { " upright" } else { "" };
    let mut table = format!("<div class=\"scroll\"><table class=\"confusion{many}{upright}\">\n<thead><tr><th></th>");
    names.iter().for_each(|name| table += &format!("<th scope=\"col\"><span>{}</span></th>", escaped(name)));
    table += "</tr></thead>\n<tbody>\n";
    for (class, counts) in confusion.counts().outer_iter().enumerate() {
        table += &format!("<tr><th scope=\"row\">{}</th>", escaped(&names[class]));
        let samples = counts.sum() as f64;
        for (predicted, &count) in counts.iter().enumerate() {
            table += &match count {
                0 => "<td class=\"none\">0</td>".to_owned(),
                _ => {
                    // mistakes are few: the root makes them visible
                    let share = count as f64 / samples;
                    let (kind, shade) =
                        if class == predicted { ("right", 0.9 * share) } else { ("wrong", share.sqrt()) };
                    let strong = if shade > 0.55 { " strong" } else { "" };
                    format!("<td class=\"{kind}{strong}\" style=\"--share:{shade:.3}\">{count}</td>")
                }
            };
        }
        table += "</tr>\n";
    }
    table += "</tbody></table></div>\n<p class=\"quiet\">A row for each true class, a column for each predicted one.";
    let undecided = confusion.undecided().sum();
    if undecided > 0 {
        table += &format!(" {undecided} predictions were not a number and are left out.");
    }
    table + "</p>\n"
}

fn per_class(classes: &Classes) -> String {
    let Classes { names, confusion, .. } = classes;
    let mut table = String::from(
        "<div class=\"scroll\"><table>\n<thead><tr><th>Class</th><th class=\"number\">Precision</th>\
         <th class=\"number\">Recall</th><th class=\"number\">F1</th><th class=\"number\">Samples</th></tr></thead>\n<tbody>\n",
    );
    let (precision, recall, f1) = (confusion.precision(), confusion.recall(), confusion.f1());
    for (class, name) in names.iter().enumerate() {
        table += &format!("<tr><th scope=\"row\">{}</th>", escaped(name));
        for figure in [&precision, &recall, &f1] {
            table += &format!("<td class=\"number\">{:.4}</td>", figure[class]);
        }
        table += &format!("<td class=\"number\">{}</td></tr>\n", samples(confusion, class));
    }
    table + "</tbody></table></div>\n"
}

fn samples(confusion: &ConfusionMatrix, class: usize) -> u64 {
    confusion.counts().row(class).sum() + confusion.undecided()[class]
}

fn mistakes(classes: &Classes) -> String {
    if classes.mistakes.is_empty() {
        return "<p>Every prediction is right.</p>\n".to_owned();
    }
    let figures: String = classes.mistakes.iter().map(|mistake| one_mistake(classes, mistake)).collect();
    format!("<div class=\"mistakes\">\n{figures}</div>\n")
}

fn one_mistake(classes: &Classes, mistake: &Mistake) -> String {
    let name = |class: usize| escaped(&classes.names[class]);
    let ranking = mistake.ranking();
    let (class, predicted) = (name(mistake.class), name(ranking[0]));
    let mut figure = String::from("<figure>");
    if let Some(image) = &mistake.image {
        let alternative = format!("test sample {}: {class}, taken for {predicted}", mistake.index);
        figure += &format!("<img src=\"{image}\" alt=\"{alternative}\">");
    }
    figure += &format!("<figcaption>is <b>{class}</b>, predicted <b>{predicted}</b></figcaption>");
    let mut shown: Vec<usize> = ranking.iter().copied().take(RANKS).collect();
    if let Some(last) = shown.last_mut()
        && !ranking[..RANKS.min(ranking.len())].contains(&mistake.class)
    {
        *last = mistake.class;
    }
    for class in shown {
        let (share, right) = (mistake.probabilities[class], if class == mistake.class { " right" } else { "" });
        figure += &format!(
            "<div class=\"bar{right}\"><span>{}</span><i style=\"--share:{share:.4}\"></i><span>{:.1} %</span></div>",
            name(class),
            100.0 * share
        );
    }
    figure + &format!("<span class=\"quiet\">no. {}</span></figure>\n", mistake.index)
}

/// Text that is nothing but text in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
