//! The report as a browser shows it: opened in Chromium, at the widths of a desktop and of a phone.
#![cfg(feature = "plot")]

use std::path::{Path, PathBuf};
use std::process::Command;

use plywood::ndarray::{Array1, Array2};
use plywood::prelude::*;
use plywood::report::Report;

/// What a script that only the test adds finds out about the page. A frame has the width of a phone or a desktop, which a
/// window of Chromium cannot have below 500 pixels.
const PROBE: &str = "
<script>
addEventListener('load', () => {
  const page = document.querySelector('iframe').contentDocument;
  const count = selector => page.querySelectorAll(selector).length;
  const images = [...page.querySelectorAll('img')];
  const colors = getComputedStyle(page.body);
  document.body.innerText = 'probe ' + JSON.stringify({
    width: page.documentElement.clientWidth,
    needed: page.documentElement.scrollWidth,
    sections: [...page.querySelectorAll('h2')].map(heading => heading.innerText),
    curves: count('.curves svg'),
    cells: count('.confusion td'),
    mistakes: count('.mistakes figure'),
    images: images.length,
    drawn: images.filter(image => image.naturalWidth > 0).length,
    card: page.querySelector('.card').innerText,
    contrast: colors.color !== colors.backgroundColor,
  }) + ' end';
});
</script>";

#[derive(Debug, serde::Deserialize)]
struct Seen {
    width: usize,
    needed: usize,
    sections: Vec<String>,
    curves: usize,
    cells: usize,
    mistakes: usize,
    images: usize,
    drawn: usize,
    card: String,
    contrast: bool,
}

/// Chromium under the names that systems give it.
fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok_and(|run| run.status.success()))
}

/// A report on a model that is not good at what it does, with images of 8×8.
fn report(path: &Path) {
    let (samples, classes) = (400, 10);
    let inputs = Array2::from_shape_fn((samples, 64), |(i, j)| ((7 * i + 3 * j * (i % classes)) % 17) as f32 / 16.0);
    let data = Dataset::new(inputs, (0..samples).map(|i| i % classes).collect::<Array1<usize>>()).unwrap();
    let model = Sequential::input([64]).add(Dense::new(32).activation(Activation::ReLU)).add(Dense::new(classes));
    let model = model.add(Softmax::new()).build(1).unwrap();
    let mut trainer = model.compile(RMSprop::default(), CategoricalCrossentropy::default()).metric(Accuracy::new());
    let fit = Fit::epochs(4).batch_size(50).validation_split(0.2);
    let history = trainer.fit(&data, &fit).unwrap();
    Report::new("Patterns <8×8>", &mut trainer, &history, &data).unwrap().fit(&fit).write(path).unwrap();
}

/// Opens the page in a frame of this width and lets the probe look at it.
fn look(browser: &str, page: &Path, width: usize) -> Seen {
    let html = format!(
        "<!doctype html><meta charset=\"utf-8\"><iframe src=\"{}\" width=\"{width}\" height=\"900\" \
         style=\"border:0\"></iframe>{PROBE}",
        page.file_name().unwrap().display()
    );
    let frame = page.with_file_name(format!("frame-{width}.html"));
    std::fs::write(&frame, html).unwrap();
    let profile = page.with_file_name(format!("profile-{width}"));
    let run = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"])
        .args(["--virtual-time-budget=10000", &format!("--user-data-dir={}", profile.display())])
        .arg(format!("file://{}", frame.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&run.stdout);
    let json = dom.split_once("<body>probe ").and_then(|(_, rest)| rest.split_once(" end"));
    let (json, _) = json.unwrap_or_else(|| panic!("{dom}\n{}", String::from_utf8_lossy(&run.stderr)));
    serde_json::from_str(&json.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")).unwrap()
}

#[test]
fn a_browser_shows_all_of_it_at_any_width() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no Chromium is installed");
        return;
    };
    let folder: PathBuf = std::env::temp_dir().join(format!("plywood-report-{}", std::process::id()));
    let page = folder.join("report.html");
    report(&page);
    for width in [360, 1280] {
        let seen = look(browser, &page, width);
        assert!(seen.needed <= seen.width, "the page is wider than its window: {seen:?}");
        let sections = ["Model", "Settings", "Confusion matrix", "Classes", "Most confidently wrong"];
        assert_eq!(seen.sections, sections);
        assert_eq!((seen.curves, seen.cells), (2, 100), "{seen:?}");
        assert!(seen.mistakes > 0 && seen.images == seen.mistakes && seen.drawn == seen.images, "{seen:?}");
        assert!(seen.card.starts_with("test loss") && seen.contrast, "{seen:?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
