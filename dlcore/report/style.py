"""The style sheet of a report: light and dark as the reader's system is set, one to three columns as the window is wide."""

CSS = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#15191f;--soft:#5a6472;--faint:#e4e8ee;--line:#ccd3dc;
--s0:#1f6feb;--s1:#d9622b;--s2:#0f8a7e;--s3:#b8479b;--s4:#8a6d00;--s5:#7452c8;--s6:#c93c45;--s7:#4b7f1f;--good:#1f6feb;
--bad:#d9622b;--on:#fff;--shadow:0 1px 2px rgba(20,30,50,.06),0 4px 16px rgba(20,30,50,.05)}
@media(prefers-color-scheme:dark){:root{--page:#0e1116;--card:#171b22;--ink:#e7ebf1;--soft:#98a3b3;--faint:#2a313c;
--line:#3a4352;--s0:#6aa6ff;--s1:#f28c5a;--s2:#3fc4b4;--s3:#e27fc8;--s4:#d9b83c;--s5:#a98bf0;--s6:#f2767d;--s7:#8fc45a;
--good:#5596f5;--bad:#f28c5a;--on:#0e1116;--shadow:none}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",
sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1280px;margin:0 auto;padding:28px 20px 60px}
header h1{margin:0;font-size:26px;line-height:1.25;letter-spacing:-.01em}
header p{margin:4px 0 0;color:var(--soft)}
h2{margin:36px 0 12px;font-size:18px;letter-spacing:-.005em}
h3{margin:0 0 10px;font-size:14px;font-weight:600}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin-top:22px}
.tile,.card{background:var(--card);border:1px solid var(--faint);border-radius:12px;box-shadow:var(--shadow)}
.tile{padding:14px 16px}
.tile b{display:block;font-size:25px;line-height:1.2;font-weight:650;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.tile small{display:block;color:var(--soft);font-size:12px;font-variant-numeric:tabular-nums}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,500px),1fr));gap:14px}
.card{padding:16px 18px;min-width:0}
.card.wide{grid-column:1/-1}
svg{display:block;width:100%;height:auto;overflow:visible}
.matrix svg{margin:0 auto}
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;fill:var(--soft)}
.name{font-size:12px}
.mid{text-anchor:middle}.end{text-anchor:end}
.grid{stroke:var(--faint)}.axis{stroke:var(--line)}
.guide{stroke:var(--soft);stroke-opacity:.7;stroke-dasharray:4 4}
.mark{stroke:var(--soft);stroke-dasharray:2 4}
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.dashed{stroke-dasharray:6 4}
.dot{stroke:var(--card);stroke-width:1}
.point{fill-opacity:.5}
.line.s0{stroke:var(--s0)}.line.s1{stroke:var(--s1)}.line.s2{stroke:var(--s2)}.line.s3{stroke:var(--s3)}
.line.s4{stroke:var(--s4)}.line.s5{stroke:var(--s5)}.line.s6{stroke:var(--s6)}.line.s7{stroke:var(--s7)}
.dot.s0,.point.s0{fill:var(--s0)}.dot.s1{fill:var(--s1)}.dot.s2{fill:var(--s2)}.dot.s3{fill:var(--s3)}
.dot.s4{fill:var(--s4)}.dot.s5{fill:var(--s5)}.dot.s6{fill:var(--s6)}.dot.s7{fill:var(--s7)}
.bar{fill:var(--line);fill-opacity:.55}.column{fill:var(--s0)}
.cell.right{fill:var(--good)}.cell.wrong{fill:var(--bad)}
.count{text-anchor:middle;font-size:11px;fill:var(--ink)}.count.strong{fill:var(--on);font-weight:600}
.keys{display:flex;flex-wrap:wrap;gap:4px 16px;margin:8px 0 0;padding:0;list-style:none;font-size:13px;color:var(--soft)}
.keys i{display:inline-block;width:18px;height:0;border-top:3px solid;border-radius:2px;margin-right:6px;vertical-align:4px}
.keys i.dashed{border-top-style:dashed}
.k0{color:var(--s0)}.k1{color:var(--s1)}.k2{color:var(--s2)}.k3{color:var(--s3)}.k4{color:var(--s4)}.k5{color:var(--s5)}
.k6{color:var(--s6)}.k7{color:var(--s7)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th{font-weight:600;color:var(--soft);text-align:left;font-size:12.5px}
th,td{padding:6px 10px;border-bottom:1px solid var(--faint);white-space:nowrap}
tr:last-child td{border-bottom:0}
td.n,th.n{text-align:right}
td.text{white-space:normal;min-width:280px;overflow-wrap:anywhere}
tr.sum td{font-weight:600}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(116px,1fr));gap:12px}
figure{margin:0}
figure img{width:100%;aspect-ratio:1;object-fit:contain;image-rendering:pixelated;background:var(--faint);border-radius:8px;
display:block}
figcaption{font-size:12.5px;line-height:1.35;margin-top:5px;color:var(--soft);overflow-wrap:anywhere}
figcaption b{color:var(--ink)}
pre{margin:0;overflow-x:auto;font:12.5px/1.55 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
dl{display:grid;grid-template-columns:max-content 1fr;gap:6px 18px;margin:0;font-size:14px}
dt{color:var(--soft)}dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.note{color:var(--soft);font-size:13px;margin:10px 0 0}
footer{margin-top:40px;color:var(--soft);font-size:13px}
@media print{body{background:#fff}.card,.tile{break-inside:avoid;box-shadow:none}}
"""
