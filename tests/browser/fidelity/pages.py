"""Some thirty small pages, each with its own way of changing its picture. Made by code, the same ones every time.

A page that moves things by script says so in ``busy`` (a count); what moves by CSS is seen without its help. Everything that moves comes to rest,
but for the caret of the page of that name: elsewhere it does not blink.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

import imagecodecs
import numpy as np

_WORDS = [
    "account",
    "balance",
    "carried",
    "ledger",
    "month",
    "quarter",
    "invoice",
    "payroll",
    "overtime",
    "holiday",
    "request",
    "approved",
    "rejected",
    "pending",
    "review",
    "manager",
    "employee",
    "contract",
    "annual",
    "salary",
    "bonus",
    "deduction",
    "pension",
    "insurance",
    "transfer",
    "receipt",
    "travel",
    "expense",
    "report",
    "station",
    "budget",
    "forecast",
]
_COLOURS = ("#fff", "#eef4ff", "#f6f1e7", "#203040", "#b33", "#2a7", "#58c", "#fc5", "#ddd", "#7a4ea3")
_PRELUDE = "<!doctype html><meta charset=utf-8><title>{name}</title><script>var busy=0</script><style>*{{caret-animation:manual}}body{{margin:0;font:15px/1.45 sans-serif;color:#223}}{style}</style>{body}"


def _text(dice: random.Random, words: int) -> str:
    return " ".join(dice.choice(_WORDS) for _ in range(words)).capitalize() + "."


def _paragraphs(dice: random.Random, count: int, words: int = 60) -> str:
    return "".join(f"<p>{_text(dice, words)}</p>" for _ in range(count))


def _rows(dice: random.Random, rows: int, columns: int) -> str:
    line = lambda: "".join(f"<td>{dice.randrange(10**6) / 100:,.2f}</td>" for _ in range(columns - 1))  # noqa: E731
    return "".join(f"<tr><th>{dice.choice(_WORDS)}</th>{line()}</tr>" for _ in range(rows))


def _page(name: str, style: str, body: str) -> str:
    return _PRELUDE.format(name=name, style=style, body=body)


def _article(dice: random.Random) -> str:
    return _page("text", "body{padding:12px 40px}a{color:#15c}h2{color:#a31}", "".join(
        f"<h2 id=s{n}>{_text(dice, 5)}</h2>{_paragraphs(dice, 3)}<a href=#s{(n + 3) % 9}>{_text(dice, 3)}</a>" for n in range(9)
    ))  # fmt: skip


def _right_to_left(dice: random.Random) -> str:
    def hebrew(n: int) -> str:
        return " ".join("".join(dice.choice("אבגדהוזחטיכלמנסעפצקרשת") for _ in range(dice.randint(2, 8))) for _ in range(n))

    def arabic(n: int) -> str:
        return " ".join("".join(dice.choice("ابتثجحخدذرزسشصضطظعغفقكلمنهوي") for _ in range(dice.randint(2, 8))) for _ in range(n))

    body = "".join(f"<p>{hebrew(30)} {dice.randrange(999)} ({_text(dice, 4)}) {arabic(25)}</p>" for _ in range(14))
    return _page(
        "right-to-left",
        "body{padding:10px 30px}input{width:60%;font-size:18px}",
        f"<div dir=rtl><input value='{hebrew(3)}'>{body}</div>",
    )


def _table(dice: random.Random) -> str:
    head = "".join(f"<th>{dice.choice(_WORDS)}</th>" for _ in range(12))
    style = (
        "table{border-collapse:separate;border-spacing:0}td,th{padding:5px 14px;border:0 solid #ccd;border-width:0 1px 1px 0;text-align:right}"
        "thead th{position:sticky;top:0;background:#e6ecf8}tbody th{position:sticky;left:0;background:#f2f5fb}tr:hover td{background:#fff3c9}"
    )
    return _page("table", style, f"<table><thead><tr>{head}</tr></thead><tbody>{_rows(dice, 120, 12)}</tbody></table>")


def _nested_scrollers(dice: random.Random) -> str:
    def inner() -> str:
        return f"<div class=box>{_paragraphs(dice, 6, 40)}<div class=box><pre>{chr(10).join(_text(dice, 20) for _ in range(40))}</pre></div>{_paragraphs(dice, 4)}</div>"

    style = "body{padding:10px}.box{height:230px;width:46%;overflow:auto;border:2px solid #79a;display:inline-block;margin:6px;vertical-align:top}.box .box{height:130px;width:80%}"
    return _page("nested-scrollers", style, "".join(inner() for _ in range(6)))


def _fixed_bars(dice: random.Random) -> str:
    style = (
        "header,footer,aside{position:fixed;background:#234;color:#fff;z-index:2}header{inset:0 0 auto 0;height:44px}footer{inset:auto 0 0 0;height:30px;opacity:.8}"
        "aside{inset:44px auto 30px 0;width:110px;overflow:auto}main{margin:52px 12px 40px 122px}button:hover{background:#fc5}"
    )
    aside = "".join(f"<div>{_text(dice, 2)}</div>" for _ in range(40))
    return _page(
        "fixed-bars",
        style,
        f"<header>{_text(dice, 4)}<button>menu</button></header><aside>{aside}</aside><main>{_paragraphs(dice, 20)}</main><footer>{_text(dice, 4)}</footer>",
    )


def _sticky(dice: random.Random) -> str:
    style = "h3{position:sticky;top:0;margin:0;padding:8px;background:linear-gradient(#fff,#cde)}section{border-bottom:3px dotted #abc;padding:0 16px}b{position:sticky;bottom:4px;background:#ffd;float:right}"
    return _page(
        "sticky",
        style,
        "".join(
            f"<section><h3>{_text(dice, 3)}</h3>{_paragraphs(dice, 4, 45)}<b>{_text(dice, 2)}</b></section>" for _ in range(10)
        ),
    )


def _canvas(dice: random.Random) -> str:
    return _page("canvas", "body{background:#eee}canvas{background:#fff;margin:8px;border:1px solid #888}", f"""<canvas id=c width=560 height=360></canvas><button id=b>again</button>
<script>const x=c.getContext('2d');let seed={dice.randrange(1, 9999)};const r=()=>(seed=seed*16807%2147483647)/2147483647;
let left=0;const step=()=>{{x.fillStyle=`hsl(${{r()*360}} 70% 60% / .6)`;x.beginPath();x.arc(r()*560,r()*360,4+r()*40,0,7);x.fill();x.fillStyle='#000';x.fillText(left,r()*540,r()*350);
--left>0?requestAnimationFrame(step):busy--}};
const go=()=>{{if(left>0)return;busy++;left=18;step()}};b.onclick=c.onclick=go;addEventListener('keydown',go);go()</script>""")  # fmt: skip


def _svg(dice: random.Random) -> str:
    shapes = "".join(
        f"<{'circle' if n % 3 else 'rect'} {'r' if n % 3 else 'height'}='{dice.randint(8, 60)}' width='{dice.randint(20, 90)}' x='{dice.randint(0, 700)}' y='{dice.randint(0, 900)}' "
        f"cx='{dice.randint(0, 700)}' cy='{dice.randint(0, 900)}' fill='{dice.choice(_COLOURS)}' stroke='#123' stroke-width='{dice.random() * 3:.2f}' opacity='.8'/>"
        for n in range(70)
    )
    line = " ".join(f"{n * 11},{dice.randint(20, 880)}" for n in range(64))
    style = "svg{width:100%;height:900px}circle:hover,rect:hover{fill:#000}text{font:italic 26px serif}"
    return _page(
        "svg",
        style,
        f"<svg viewBox='0 0 720 900'>{shapes}<polyline points='{line}' fill='none' stroke='#c33'/><text x=40 y=60 transform='rotate(8)'>{_text(dice, 6)}</text></svg>",
    )


def _gradients(dice: random.Random) -> str:
    kinds = (
        "linear-gradient({}deg,{},{} 60%,{})",
        "radial-gradient(circle at {}% 40%,{},{},{})",
        "conic-gradient(from {}deg,{},{},{})",
    )
    tile = lambda: dice.choice(kinds).format(dice.randint(0, 90), *(dice.choice(_COLOURS) for _ in range(3)))  # noqa: E731
    style = "i{display:inline-block;width:180px;height:150px;margin:6px;border-radius:24px;box-shadow:4px 6px 14px #0007}i:hover{border-radius:0}"
    return _page("gradients", style, "".join(f"<i style='background:{tile()}'></i>" for _ in range(36)))


def _transparent(dice: random.Random) -> str:
    style = "body{background:repeating-conic-gradient(#ccc 0 25%,#fff 0 50%) 0 0/24px 24px}img{margin:5px;opacity:.95}img:hover{mix-blend-mode:multiply;opacity:.5}"
    return _page(
        "transparent-images", style, "".join(f"<img src=/see-through.png?{n} width={dice.randint(60, 260)}>" for n in range(18))
    )


def _odd_images(dice: random.Random) -> str:
    style = "img{margin:3.5px;image-rendering:auto}img:nth-child(3n){image-rendering:pixelated}"
    sizes = "".join(
        f"<img src=/photo.png?{n} style='width:{dice.randint(31, 333) + dice.random():.2f}px;height:{dice.randint(31, 233) + dice.random():.2f}px'>"
        for n in range(24)
    )
    return _page("odd-images", style, sizes)


def _transforms(dice: random.Random) -> str:
    style = "div.t{display:inline-block;width:150px;height:90px;margin:26px;background:#58c;color:#fff}div.t:hover{transform:none!important}body{perspective:700px}"

    def turn() -> str:
        return dice.choice(
            (
                f"rotate({dice.randint(-40, 40)}deg)",
                f"skew({dice.randint(-20, 20)}deg) scale(1.1)",
                f"rotateY({dice.randint(-60, 60)}deg)",
                f"translate({dice.random() * 9:.2f}px,{dice.random() * 9:.2f}px) scale(.83)",
            )
        )

    return _page(
        "transforms", style, "".join(f"<div class=t style='transform:{turn()}'>{_text(dice, 6)}</div>" for _ in range(24))
    )


def _frames(dice: random.Random) -> str:
    style = "iframe{width:45%;height:260px;margin:8px;border:2px solid #456}"
    return _page(
        "frames",
        style,
        f"<p>{_text(dice, 9)}</p><iframe src=/framed></iframe><iframe src=http://elsewhere.test/framed></iframe><iframe srcdoc='<h1>{_text(dice, 3)}</h1><input value=typed>'></iframe>{_paragraphs(dice, 6)}",
    )


def _shadow(dice: random.Random) -> str:
    return _page("shadow", "x-card{margin:8px;width:230px;display:inline-block;vertical-align:top}", "<x-card></x-card>" * 12 + f"""<script>
customElements.define('x-card',class extends HTMLElement{{connectedCallback(){{const r=this.attachShadow({{mode:'open'}});let n=0;
r.innerHTML=`<style>:host{{border:1px solid #99a;padding:8px;border-radius:9px;background:#fafcff}}button:hover{{background:#fc5}}</style><b>{_text(dice, 2)}</b><input style="width:90%"><button>count 0</button><p>{_text(dice, 14)}</p>`;
r.querySelector('button').onclick=e=>{{e.target.textContent='count '+ ++n;r.querySelector('p').style.color=n%2?'#b33':'#223'}}}}}})</script>""")  # fmt: skip


def _rich_text(dice: random.Random) -> str:
    style = "[contenteditable]{margin:14px;padding:14px;min-height:300px;border:1px solid #aaa;font-size:17px}::selection{background:#fc5}"
    return _page(
        "rich-text",
        style,
        f"<div contenteditable spellcheck=false><h2>{_text(dice, 4)}</h2>{_paragraphs(dice, 4, 35)}<ul><li>{_text(dice, 5)}<li>{_text(dice, 5)}</ul></div>",
    )


def _textarea(dice: random.Random) -> str:
    text = "\n".join(_text(dice, 14) for _ in range(50))
    return _page(
        "textarea",
        "textarea{font:14px monospace;width:90%;height:46vh;margin:10px;resize:both}",
        f"<textarea>{text}</textarea><textarea wrap=off>{text}</textarea>",
    )


def _form(dice: random.Random) -> str:
    kinds = ("text", "number", "password", "checkbox", "radio", "range", "search")
    fields = "".join(
        f"<label>{_text(dice, 2)} <input name=g type={kinds[n % len(kinds)]} value={dice.randrange(90)}></label>"
        for n in range(28)
    )
    options = "".join(f"<option>{word}" for word in dice.sample(_WORDS, 9))
    style = "label{display:block;padding:5px 16px}label:focus-within{background:#eef4ff}:checked{outline:2px solid #2a7}:invalid{border-color:red}"
    return _page(
        "form",
        style,
        f"<select>{options}</select><select multiple>{options}</select><progress value=.4></progress><meter value=.7></meter>{fields}<button type=reset>reset</button>",
    )


def _hover_menus(dice: random.Random) -> str:
    style = (
        "nav>div{display:inline-block;position:relative;padding:10px 18px;background:#345;color:#fff}nav div div{display:none;position:absolute;left:0;top:100%;width:190px;background:#fff;color:#222;"
        "box-shadow:0 8px 24px #0005;z-index:3}nav div:hover>div{display:block}nav p{margin:0;padding:7px}nav p:hover{background:#fc5}"
    )
    menu = lambda: f"<div>{dice.choice(_WORDS)}<div>{''.join(f'<p>{_text(dice, 3)}</p>' for _ in range(7))}</div></div>"  # noqa: E731
    return _page("hover-menus", style, f"<nav>{''.join(menu() for _ in range(5))}</nav>{_paragraphs(dice, 14)}")


def _details(dice: random.Random) -> str:
    style = "details{border:1px solid #bbc;margin:6px 14px;padding:6px}summary:hover{color:#b33}details[open]{background:#f6f1e7}"
    return _page(
        "details",
        style,
        "".join(
            f"<details{' open' if n % 4 == 0 else ''}><summary>{_text(dice, 5)}</summary>{_paragraphs(dice, 2, 40)}</details>"
            for n in range(22)
        ),
    )


def _transitions(dice: random.Random) -> str:
    style = (
        "div.t{width:120px;height:80px;margin:12px;display:inline-block;background:#58c;transition:all .28s}"
        # What moves away from under the pointer is not what was hovered: it would come back, and go, for ever.
        "span{display:inline-block}span:hover>div.t{transform:translateX(30px) rotate(9deg);background:#b33}div.t:active{width:190px}"
        "@keyframes in{from{opacity:0;transform:translateY(24px)}}div.t{animation:in .5s backwards}"
    )
    return _page(
        "transitions",
        style,
        "".join(f"<span><div class=t style='animation-delay:{n * 20}ms'>{_text(dice, 4)}</div></span>" for n in range(30)),
    )


def _columns(dice: random.Random) -> str:
    return _page(
        "columns",
        "main{columns:4 150px;column-rule:1px solid #99a;column-gap:22px;padding:14px;text-align:justify;hyphens:auto;font-family:serif}h2{column-span:all}",
        f"<main>{_paragraphs(dice, 12, 70)}<h2>{_text(dice, 5)}</h2>{_paragraphs(dice, 12, 70)}</main>",
    )


def _dark(dice: random.Random) -> str:
    style = "html{color-scheme:dark;background:#111}body{padding:18px;color:#dde}pre{background:#1b2230;padding:10px;border-radius:8px;overflow:auto}i{color:#8fd}b{color:#f9a}"

    def code() -> str:
        return "\n".join(
            f"<i>{dice.choice(_WORDS)}</i> = <b>{dice.choice(_WORDS)}</b>({dice.randrange(999)})  # {_text(dice, 9)}"
            for _ in range(16)
        )

    return _page("dark", style, "".join(f"<p>{_text(dice, 20)}<pre>{code()}</pre>" for _ in range(6)))


def _virtual_list(dice: random.Random) -> str:
    return _page("virtual-list", "#v{height:90vh;overflow:auto;border:1px solid #aab;margin:8px;position:relative}#v div{position:absolute;left:0;right:0;height:26px;padding:0 10px;border-bottom:1px solid #eee}", f"""<div id=v><p id=h style="height:260000px"></p></div>
<script>const words={dice.sample(_WORDS, 20)!r};const draw=()=>{{const first=Math.floor(v.scrollTop/26);v.querySelectorAll('div').forEach(d=>d.remove());
for(let n=first;n<first+v.clientHeight/26+2;n++){{const d=document.createElement('div');d.style.top=n*26+'px';d.style.background=n%2?'#f4f7fc':'#fff';d.textContent=n+' '+words[n%20]+' '+words[n*7%20]+' '+n*n%9973;v.append(d)}}}};
v.onscroll=draw;addEventListener('resize',draw);draw()</script>""")  # fmt: skip


def _endless(dice: random.Random) -> str:
    return _page("endless", "article{margin:12px;padding:12px;border:1px solid #ccd;border-radius:8px;background:#fafafa}#e{height:20px}", f"""<main id=m></main><div id=e>more …</div>
<script>const words={_WORDS!r};let n=0;const add=()=>{{for(let k=0;k<6;k++){{const a=document.createElement('article');n++;let t='';for(let w=0;w<40;w++)t+=words[(n*31+w*17)%words.length]+' ';a.textContent=n+'. '+t;m.append(a)}}}};
add();new IntersectionObserver(es=>{{if(es.some(e=>e.isIntersecting)){{busy++;setTimeout(()=>{{add();busy--}},120)}}}}).observe(e)</script>""")  # fmt: skip


def _caret(dice: random.Random) -> str:
    return _page(
        "caret",
        "input{caret-animation:auto;font-size:26px;margin:20px;width:70%}input:focus{outline:4px solid #58c}",
        f"<input autofocus value='{_text(dice, 3)}'><input placeholder='{_text(dice, 3)}'>{_paragraphs(dice, 2)}",
    )


def _emoji(dice: random.Random) -> str:
    signs = [
        "😀",
        "👩\u200d👩\u200d👧\u200d👦",
        "🏳️\u200d🌈",
        "🇨🇭",
        "👍🏽",
        "✈️",
        "❤️",
        "☎",
        "♞",
        "∑",
        "∞",
        "⇄",
        "½",
        "ﬁ",
        "漢字",
        "かな",
        "한국어",
        "ไทย",
        "नमस्ते",
        "é",
        "ñ",
    ]
    return _page(
        "emoji",
        "p{font-size:22px;margin:8px}p:nth-child(even){font-size:31.5px;letter-spacing:1.3px}",
        "".join(f"<p>{' '.join(dice.choices(signs, k=16))} {_text(dice, 3)}</p>" for _ in range(26)),
    )


def _video(dice: random.Random) -> str:
    return _page("video", "body{background:#222;color:#eee}canvas{display:block;margin:10px;width:640px;height:360px}", f"""<canvas id=c width=320 height=180></canvas><button id=b>play</button><p>{_text(dice, 30)}</p>
<script>const x=c.getContext('2d'),d=x.createImageData(320,180);let f=0,left=0;const step=()=>{{f++;for(let i=0;i<d.data.length;i+=4){{const p=i/4,px=p%320,py=p/320|0;d.data[i]=px+f*5;d.data[i+1]=py*2+f*3;d.data[i+2]=(px^py)+f;d.data[i+3]=255}}
x.putImageData(d,0,0);--left>0?setTimeout(step,33):busy--}};const go=()=>{{if(left>0)return;busy++;left=36;step()}};b.onclick=c.onclick=go;addEventListener('keydown',e=>e.key==='p'&&go());go()</script>""")  # fmt: skip


def _smooth(dice: random.Random) -> str:
    style = "html{scroll-behavior:smooth}nav{position:fixed;right:8px;top:8px;background:#fffd;border:1px solid #99a;padding:6px}section{height:420px;padding:20px 160px 20px 20px}"
    links = "".join(f"<a href=#s{n}>{n}</a> " for n in range(9))
    sections = "".join(
        f"<section id=s{n} style='background:{dice.choice(_COLOURS)}'><h1>{n} {_text(dice, 3)}</h1>{_paragraphs(dice, 2)}</section>"
        for n in range(9)
    )
    return _page("smooth", style, f"<nav>{links}</nav>{sections}")


def _wide(dice: random.Random) -> str:
    style = "body{width:6000px}div{display:inline-block;width:290px;margin:8px;vertical-align:top;white-space:normal}main{white-space:nowrap}"
    return _page(
        "wide",
        style,
        "".join(
            f"<main>{''.join(f'<div><h3>{row}/{n}</h3>{_text(dice, 30)}</div>' for n in range(19))}</main>" for row in range(8)
        ),
    )


def _zoomed(dice: random.Random) -> str:
    return _page(
        "zoomed",
        "main{zoom:1.37;padding:9px}aside{zoom:.67;background:#eee;padding:9px}button{transition:zoom .2s}button:hover{zoom:1.2}",
        f"<main>{_paragraphs(dice, 3)}<button>{_text(dice, 2)}</button></main><aside>{_paragraphs(dice, 8)}</aside>",
    )


def _pop_overs(dice: random.Random) -> str:
    pops = "".join(
        f"<button popovertarget=p{n}>{_text(dice, 2)}</button><div popover id=p{n}><h2>{_text(dice, 3)}</h2>{_text(dice, 20)}</div>"
        for n in range(6)
    )
    style = "button{margin:14px;padding:10px}[popover]{border:2px solid #58c;box-shadow:0 8px 30px #0006}dialog::backdrop{background:#1238}dialog{width:300px}"
    return _page(
        "pop-overs",
        style,
        f"{pops}<button onclick=d.showModal()>modal</button><dialog id=d><p>{_text(dice, 20)}</p><form method=dialog><input><button>close</button></form></dialog>{_paragraphs(dice, 8)}",
    )


def _blurred(dice: random.Random) -> str:
    style = "header{position:fixed;inset:0 0 auto 0;height:80px;backdrop-filter:blur(9px) saturate(1.4);background:#fff6;z-index:2}img{width:230px;margin:8px}img:hover{filter:blur(3px)}p{text-shadow:2px 3px 4px #58c9}"
    return _page(
        "blurred",
        style,
        f"<header><h2>{_text(dice, 4)}</h2></header>"
        + "".join(f"<img src=/photo.png?{n}><p>{_text(dice, 12)}</p>" for n in range(8)),
    )


def _sheets(dice: random.Random) -> str:
    style = "body{background:#777;padding:20px}article{background:#fff;width:520px;min-height:700px;margin:0 auto 24px;padding:48px;box-shadow:0 2px 12px #0008;font:13px/1.5 serif;counter-increment:s}article::after{content:counter(s);display:block;text-align:center}"
    return _page(
        "sheets",
        style,
        "".join(
            f"<article><h2>{_text(dice, 4)}</h2>{_paragraphs(dice, 5, 50)}<table>{_rows(dice, 5, 4)}</table></article>"
            for _ in range(5)
        ),
    )


_MAKERS: tuple[Callable[[random.Random], str], ...] = (
    _article, _right_to_left, _table, _nested_scrollers, _fixed_bars, _sticky, _canvas, _svg, _gradients, _transparent, _odd_images, _transforms,
    _frames, _shadow, _rich_text, _textarea, _form, _hover_menus, _details, _transitions, _columns, _dark, _virtual_list, _endless, _caret, _emoji,
    _video, _smooth, _wide, _zoomed, _pop_overs, _blurred, _sheets,
)  # fmt: skip


def _png(alpha: bool) -> bytes:
    y, x = np.mgrid[0:151, 0:203]
    noise = np.random.default_rng(7).integers(0, 40, (151, 203))
    layers = [x * 255 // 203, y * 255 // 151, (x * y // 90 + noise) % 256]
    if alpha:
        layers.append(np.clip(255 - np.hypot(x - 101, y - 75) * 2.6, 0, 255))
    return bytes(imagecodecs.png_encode(np.dstack(layers).astype(np.uint8)))


def _name(maker: Callable[[random.Random], str]) -> str:
    return maker.__name__.strip("_").replace("_", "-")


PAGES: Mapping[str, str] = MappingProxyType({_name(maker): maker(random.Random(number)) for number, maker in enumerate(_MAKERS)})
IMAGES: Mapping[str, bytes] = MappingProxyType({"/photo.png": _png(alpha=False), "/see-through.png": _png(alpha=True)})
FRAMED = _page(
    "framed",
    "a:hover,p:hover{background:#fc5}",
    f"<input value=inside><button onclick=\"this.textContent='clicked '+(busy-=-0)\">press</button>{_paragraphs(random.Random(99), 9, 40)}",
)
