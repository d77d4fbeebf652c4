//! The page as HTML.

use std::fmt::{Display, Write as _};

use super::{Classes, Mistake, Report};
use crate::metrics::ConfusionMatrix;
use crate::model::thousands;
use crate::plot;

/// Classes up to which a confusion matrix has columns of one width, to fit a phone.
const FEW_CLASSES: usize = 12;

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
    for name in report.history.names() {
        if let Some(value) = report.history.last(name) {
            let name =
                name.strip_prefix("val_").map_or(format!("training {name}"), |name| format!("validation {name}"));
            card(&name, &format_args!("{value:.4}"));
        }
    }
    card("parameters", &thousands(report.summary.parameter_count()));
    let seconds = report.history.seconds();
    if !seconds.is_empty() {
        card("epochs", &seconds.len());
        card("training time", &format_args!("{:.1} s", seconds.iter().sum::<f64>()));
    }
    cards + "</div>\n"
}

fn curves(report: &Report) -> String {
    if report.history.is_empty() {
        return String::new();
    }
    let charts = plot::runs([("", &report.history)])
        .into_charts()
        .map(|chart| format!("<section class=\"curves\">\n{}</section>\n", plot::Figure::from(chart).to_inline_svg()));
    format!("<div class=\"grid\">\n{}</div>\n", charts.collect::<String>())
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
    let mut table = format!("<div class=\"scroll\"><table class=\"confusion{many}\">\n<thead><tr><th></th>");
    names.iter().for_each(|name| table += &format!("<th scope=\"col\">{}</th>", escaped(name)));
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
