"""Every message that may cross between a viewer and a page, one frozen dataclass each.

On the wire a message is one binary WebSocket message: a type byte, then either a packed body (:class:`Frame` and what carries bytes of
files and pictures) or a JSON object with exactly the dataclass's fields. Coordinates and sizes are CSS pixels of the page's viewport, as integers, except in
:class:`Frame`, whose rectangles are device pixels of the surface. Every text is hostile: it is data, never markup.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

VERSION = 1


class Type(IntEnum):
    """Type bytes. 1–63 travel to the renderer, 64–127 from it."""

    HELLO = 1
    RESIZE = 2
    POINTER = 3
    WHEEL = 4
    KEY = 5
    TEXT = 6
    COMPOSITION = 7
    NAVIGATE = 8
    HISTORY = 9
    RELOAD = 10
    STOP = 11
    DIALOG_REPLY = 12
    SELECT_REPLY = 13
    ACK = 14
    FOCUS = 15
    PASTE = 16
    COPY_REQUEST = 17
    CLOSE_PAGE = 18
    REFRESH = 19
    TOUCH = 20
    FIND = 21
    MENU_REPLY = 22
    PRINT = 23
    AUTH_REPLY = 24
    EXIT_FULLSCREEN = 25
    FILE_CHOICE = 26
    FILE_DROP = 27
    FILE_DATA = 28
    FILE_CANCEL = 29
    DOWNLOAD_REPLY = 30
    DOWNLOAD_ACK = 31
    PASTE_IMAGE = 32

    READY = 64
    FRAME = 65
    LOCATION = 66
    TITLE = 67
    ICON = 68
    LOADING = 69
    CURSOR = 70
    DIALOG = 71
    DIALOG_CLOSED = 72
    SELECT = 73
    SELECT_CLOSED = 74
    OPENED = 75
    CLIPBOARD = 76
    NOTICE = 77
    CLOSED = 78
    LINK_HINT = 79
    FOUND = 80
    MENU = 81
    FULLSCREEN = 82
    AUTH = 83
    EXTERNAL = 84
    FILE_ASK = 85
    FILE_PROGRESS = 86
    FILE_CLOSED = 87
    DOWNLOAD = 88
    DOWNLOAD_DATA = 89
    DOWNLOAD_CLOSED = 90
    CLIPBOARD_IMAGE = 91
    PERMISSION = 92
    QUEUED = 93
    ENDING = 94
    EDITING = 95


class CloseCode(StrEnum):
    """Why a page's stream ends. Only codes cross the line; the viewer has the words."""

    PAGE_CLOSED = "page-closed"  # the page closed itself (window.close)
    BROWSER_CRASHED = "browser-crashed"
    RENDERER_LOST = "renderer-lost"  # said by the router: the node went away
    REPLACED = "replaced"  # another viewer took this page over
    PROTOCOL = "protocol"  # somebody spoke nonsense
    NO_CAPACITY = "no-capacity"
    RELEASED = "released"  # said by the router: the decision is now pass-through; reload
    REDECIDED = "redecided"  # said by the router: controls or mode changed; reload
    SESSION_ENDED = "session-ended"  # said by the router
    REFUSED = "refused"  # said by the router: policy no longer lets this person in
    LIMIT_REACHED = "limit-reached"  # the session used more memory, processor, processes or disk than one may
    IDLE = "idle"  # said by the router: nobody did anything for as long as the controls allow
    TIME_UP = "time-up"  # said by the router: the session is as old as the controls allow
    TAB_LIMIT = "tab-limit"  # as many pages are open as the controls allow


class NoticeCode(StrEnum):
    """Things the person should be told. The viewer has the words."""

    NAVIGATION_BLOCKED = "navigation-blocked"  # a scheme or host that is not reachable from isolation
    DOWNLOAD_BLOCKED = "download-blocked"
    UPLOAD_BLOCKED = "upload-blocked"
    PRINT_BLOCKED = "print-blocked"
    CLIPBOARD_BLOCKED = "clipboard-blocked"
    POPUP_BLOCKED = "popup-blocked"  # too many windows
    KEYBOARD_BLOCKED = "keyboard-blocked"
    PAGE_CRASHED = "page-crashed"
    PAGE_HUNG = "page-hung"  # the page does not answer
    FILE_REFUSED = "file-refused"  # a file of a type or size that the controls do not let through
    CLIPBOARD_LARGE = "clipboard-large"  # more than the controls let through at once
    CLIPBOARD_FAST = "clipboard-fast"  # more often than the controls allow
    TAB_LIMIT = "tab-limit"  # as many tabs as the controls allow


# ---------------------------------------------------------------- to the renderer


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a viewer. ``page``: id of a page to take over (a reload, a pop-up), or "" for a new one at ``path``.

    ``path``: origin-form target on the app's own origin, used for a new page and after a crash. ``scale``: device pixels per CSS
    pixel in hundredths (25–500: the screen's own times the person's page zoom). ``mac``: the person's keyboard uses Command. ``video``:
    the viewer can decode VP8. ``touch``: the person's main pointer is a finger.
    """

    version: int
    page: str
    path: str
    width: int
    height: int
    scale: int
    mac: bool
    video: bool
    touch: bool = False


@dataclass(frozen=True, slots=True)
class Resize:
    """The viewer's new size in CSS pixels, and its scale as in :class:`Hello`."""

    width: int
    height: int
    scale: int


class PointerKind(StrEnum):
    """What a pointer did."""

    MOVE = "move"
    DOWN = "down"
    UP = "up"


@dataclass(frozen=True, slots=True)
class Pointer:
    """``button``: 0 left, 1 middle, 2 right (DOM). ``buttons``: DOM bit mask. ``clicks``: 1–3. ``modifiers``: Alt 1, Ctrl 2, Meta 4, Shift 8 (CDP)."""

    kind: PointerKind
    x: int
    y: int
    button: int
    buttons: int
    clicks: int
    modifiers: int


@dataclass(frozen=True, slots=True)
class Wheel:
    """Scroll by CSS pixels at a point."""

    x: int
    y: int
    dx: int
    dy: int
    modifiers: int


@dataclass(frozen=True, slots=True)
class Key:
    """A key, in DOM terms. ``location``: 0 standard, 1 left, 2 right, 3 numpad. Text a key produces comes in ``key`` when it is one character."""

    down: bool
    key: str
    code: str
    location: int
    modifiers: int
    repeat: bool


@dataclass(frozen=True, slots=True)
class Text:
    """Text to insert where the caret is (committed IME text, soft keyboards, dead keys)."""

    text: str


@dataclass(frozen=True, slots=True)
class Composition:
    """Text under composition (IME). ``text`` "" cancels."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Navigate:
    """Go to an origin-form target on the app's own origin."""

    path: str


@dataclass(frozen=True, slots=True)
class History:
    """Go ``delta`` entries back (negative) or forward."""

    delta: int


@dataclass(frozen=True, slots=True)
class Reload:
    """Reload. ``hard``: past the cache."""

    hard: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop loading."""


@dataclass(frozen=True, slots=True)
class DialogReply:
    """Answer to a :class:`Dialog`."""

    id: int
    accept: bool
    text: str


@dataclass(frozen=True, slots=True)
class SelectReply:
    """Answer to a :class:`Select`: chosen values. For kind ``options``: indices as decimal text. No values: dismissed unchanged."""

    id: int
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """The viewer has drawn frame ``seq``."""

    seq: int


@dataclass(frozen=True, slots=True)
class Focus:
    """The viewer gained or lost focus; a hidden viewer gets no frames."""

    focused: bool
    visible: bool


@dataclass(frozen=True, slots=True)
class Paste:
    """Clipboard text for the page (control ``clipboard``: to_app or both)."""

    text: str


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """Send me the selection (control ``clipboard``: from_app or both). ``cut`` removes it."""

    cut: bool


@dataclass(frozen=True, slots=True)
class ClosePage:
    """The person closed this tab for good."""


@dataclass(frozen=True, slots=True)
class Refresh:
    """Send the whole picture again (the canvas or the decoder was lost). ``video``: whether the viewer still decodes VP8."""

    video: bool


class TouchKind(StrEnum):
    """What fingers did."""

    START = "start"
    MOVE = "move"
    END = "end"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class TouchPoint:
    """One finger on the surface; ``id`` stays the same while it touches."""

    id: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Touch:
    """Fingers, as W3C Touch Events have them: ``points`` are those on the surface after a start or move, and after an end or cancel those that remain."""

    kind: TouchKind
    points: tuple[TouchPoint, ...]
    modifiers: int


@dataclass(frozen=True, slots=True)
class Find:
    """Find text in the page. ``again``: the next match of the same text. ``text`` "": stop finding."""

    text: str
    backward: bool
    again: bool


class MenuAction(StrEnum):
    """What a person chose from the page's context menu, of what only the page's browser can do."""

    NONE = "none"  # closed it
    OPEN_LINK = "open-link"  # in a new tab
    SAVE_LINK = "save-link"
    SAVE_IMAGE = "save-image"
    COPY_IMAGE = "copy-image"
    SELECT_ALL = "select-all"


@dataclass(frozen=True, slots=True)
class MenuReply:
    """Answer to a :class:`Menu`."""

    id: int
    action: MenuAction


@dataclass(frozen=True, slots=True)
class Print:
    """Make a PDF of the page (control ``print``); it comes as a :class:`Download` of kind ``print``."""


@dataclass(frozen=True, slots=True)
class AuthReply:
    """Answer to an :class:`Auth`."""

    id: int
    accept: bool
    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExitFullscreen:
    """The person left full screen."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file of the person's device. ``name``: without directories. ``size``: bytes. ``type``: the MIME type their browser guesses, or ""."""

    name: str
    size: int
    type: str


@dataclass(frozen=True, slots=True)
class FileChoice:
    """Answer to a :class:`FileAsk` (control ``upload``): the files whose bytes follow as :class:`FileData`. None: dismissed."""

    id: int
    files: tuple[FileInfo, ...]


@dataclass(frozen=True, slots=True)
class FileDrop:
    """Files dropped on the page at a point (control ``upload``). ``id``: chosen by the viewer, 2**31 and above."""

    id: int
    x: int
    y: int
    files: tuple[FileInfo, ...]


@dataclass(frozen=True, slots=True)
class FileData:
    """Bytes of file ``index`` of an upload, from ``offset``. In order; at most ``FILE_WINDOW`` ahead of what :class:`FileProgress` said.

    Packed, big-endian: ``u32 id, u16 index, u64 offset`` and the bytes.
    """

    id: int
    index: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class FileCancel:
    """Give up a transfer of either direction."""

    id: int


@dataclass(frozen=True, slots=True)
class DownloadReply:
    """Answer to a :class:`Download`: whether the person wants its bytes."""

    id: int
    accept: bool


@dataclass(frozen=True, slots=True)
class DownloadAck:
    """The viewer has taken ``received`` bytes of a download."""

    id: int
    received: int


@dataclass(frozen=True, slots=True)
class PasteImage:
    """A picture of the device's clipboard for the page, as PNG (control ``clipboard``, where its types have images). Packed: the bytes alone."""

    png: bytes


# ---------------------------------------------------------------- from the renderer


@dataclass(frozen=True, slots=True)
class Ready:
    """The page is attached. ``resumed``: it existed before. Sizes are CSS pixels."""

    page: str
    width: int
    height: int
    scale: int
    resumed: bool


class Encoding(IntEnum):
    """How a rectangle's pixels are packed."""

    WEBP_LOSSLESS = 1  # RIFF/WEBP with one VP8L chunk
    WEBP_LOSSY = 2  # RIFF/WEBP with one VP8 chunk
    FILL = 3  # 3 bytes RGB
    RECALL = 4  # from what was kept: u16 slot, u16 x, u16 y inside it
    VIDEO = 5  # one VP8 frame, the next of this rectangle's film; a key frame begins a new one
    GLYPHS = 6  # stamps over what is there, within the rectangle: see renderer.wire.glyphs


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy a rectangle of the previous surface: from (sx, sy) to (x, y), device pixels."""

    sx: int
    sy: int
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Remember a rectangle of the previous surface as ``slot``, in place of what the slot held; device pixels. Later frames may recall parts of it."""

    slot: int
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Paint:
    """Pixels for one rectangle of the surface, device pixels."""

    x: int
    y: int
    width: int
    height: int
    encoding: Encoding
    data: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One step from surface ``seq - 1`` to ``seq``. Keeps and copies read the old surface; then the paints are laid over.

    ``whole``: the surface is new (its size and scale may have changed) and nothing of the old one remains, kept rectangles, film and glyphs
    included. ``scale``: device pixels per CSS pixel in hundredths. Packed, big-endian: ``u32 seq, u16 width, u16 height, u16 scale,
    u8 flags (1 whole), u16 keeps, u16 copies, u16 paints``, then per keep five ``u16``, per copy six, per paint
    ``u16 x, y, width, height, u8 encoding, u32 length`` and the bytes. Nothing may follow.
    """

    seq: int
    width: int
    height: int
    whole: bool
    copies: tuple[Copy, ...]
    paints: tuple[Paint, ...]
    keeps: tuple[Keep, ...] = ()
    scale: int = 100


@dataclass(frozen=True, slots=True)
class Location:
    """Where the page is. ``origin``: ``scheme://host[:port]``. ``path``: origin-form with query and fragment. ``index`` / ``length``: position in the page's history."""

    origin: str
    path: str
    index: int
    length: int
    replace: bool


@dataclass(frozen=True, slots=True)
class Title:
    """The page's title."""

    text: str


@dataclass(frozen=True, slots=True)
class Icon:
    """The page's icon, re-encoded as a 32 × 32 PNG in base64, or "" for none."""

    png: str


@dataclass(frozen=True, slots=True)
class Loading:
    """Whether the main frame is loading."""

    active: bool


@dataclass(frozen=True, slots=True)
class Cursor:
    """A CSS cursor keyword (no images)."""

    name: str


class DialogKind(StrEnum):
    """JavaScript dialogs."""

    ALERT = "alert"
    CONFIRM = "confirm"
    PROMPT = "prompt"
    BEFORE_UNLOAD = "beforeunload"


@dataclass(frozen=True, slots=True)
class Dialog:
    """A JavaScript dialog; the page stands still until it is answered."""

    id: int
    kind: DialogKind
    origin: str
    message: str
    default: str


@dataclass(frozen=True, slots=True)
class DialogClosed:
    """The dialog went away by itself."""

    id: int


class SelectKind(StrEnum):
    """Native pop-ups that never appear in a screencast."""

    OPTIONS = "options"
    DATE = "date"
    TIME = "time"
    DATETIME = "datetime-local"
    MONTH = "month"
    WEEK = "week"
    COLOR = "color"
    DATALIST = "datalist"  # suggestions below a text field; the keyboard stays with the page


@dataclass(frozen=True, slots=True)
class Option:
    """One line of a drop-down. ``group``: its optgroup's label or ""."""

    label: str
    group: str
    disabled: bool
    selected: bool


@dataclass(frozen=True, slots=True)
class Select:
    """The viewer draws this pop-up itself, at the control's rectangle (CSS pixels). ``value``, ``low``, ``high``: for inputs."""

    id: int
    kind: SelectKind
    x: int
    y: int
    width: int
    height: int
    multiple: bool
    options: tuple[Option, ...]
    value: str
    low: str
    high: str


@dataclass(frozen=True, slots=True)
class SelectClosed:
    """The pop-up's control went away."""

    id: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The page opened a window; it waits as ``page`` for a viewer. ``origin`` and ``path`` as in :class:`Location`."""

    page: str
    origin: str
    path: str


@dataclass(frozen=True, slots=True)
class Clipboard:
    """Text the person copied, for the device's clipboard."""

    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Tell the person."""

    code: NoticeCode


@dataclass(frozen=True, slots=True)
class Closed:
    """Last message of a stream."""

    code: CloseCode


@dataclass(frozen=True, slots=True)
class LinkHint:
    """Where the link under the pointer leads, "" for none."""

    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """Answer to :class:`Find`: match ``index`` (from 1) of ``count``; 0 of 0: none."""

    index: int
    count: int


@dataclass(frozen=True, slots=True)
class Menu:
    """The page has no context menu of its own at this point: the viewer shows its own. ``link``: the link's address or ""."""

    id: int
    x: int
    y: int
    link: str
    image: bool
    editable: bool
    selection: bool


@dataclass(frozen=True, slots=True)
class Fullscreen:
    """The page entered or left full screen."""

    active: bool


@dataclass(frozen=True, slots=True)
class Auth:
    """A server asks for name and password (HTTP authentication). Its end is said by :class:`DialogClosed`: ids are shared with dialogs."""

    id: int
    origin: str
    realm: str


@dataclass(frozen=True, slots=True)
class External:
    """A link for another program of the device (``mailto:``, ``tel:``, ``sms:``); the person decides."""

    url: str


@dataclass(frozen=True, slots=True)
class FileAsk:
    """The page wants files (control ``upload``). ``accept``: the input's attribute."""

    id: int
    multiple: bool
    accept: str


@dataclass(frozen=True, slots=True)
class FileProgress:
    """So many bytes of an upload's files, all together, have arrived."""

    id: int
    received: int


class TransferCode(StrEnum):
    """How a transfer ended."""

    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"
    TOO_LARGE = "too-large"
    WRONG_TYPE = "wrong-type"  # a type that the controls do not let through, or not what its name says


@dataclass(frozen=True, slots=True)
class FileClosed:
    """An upload has ended; the page has the files only after ``done``."""

    id: int
    code: TransferCode


class DownloadKind(StrEnum):
    """Why there are bytes for the device."""

    FILE = "file"
    PRINT = "print"


@dataclass(frozen=True, slots=True)
class Download:
    """A file for the device (controls ``download``, ``print``). ``size``: bytes, 0 when not known. Its bytes come after a :class:`DownloadReply`."""

    id: int
    kind: DownloadKind
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class DownloadData:
    """Bytes of a download, in order, at most ``FILE_WINDOW`` ahead of :class:`DownloadAck`. Packed, big-endian: ``u32 id, u64 offset`` and the bytes."""

    id: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class DownloadClosed:
    """A download has ended; the file is whole only after ``done``."""

    id: int
    code: TransferCode


@dataclass(frozen=True, slots=True)
class ClipboardImage:
    """A picture the person copied, encoded anew as PNG. Packed: the bytes alone."""

    png: bytes


class EditingMode(StrEnum):
    """What has the keyboard: no text field, or one and the soft keyboard it wants (HTML standard §6.8.8, ``inputmode``)."""

    OFF = "off"
    NONE = "none"  # a text field that draws a keyboard of its own
    TEXT = "text"
    DECIMAL = "decimal"
    NUMERIC = "numeric"
    TEL = "tel"
    SEARCH = "search"
    EMAIL = "email"
    URL = "url"


@dataclass(frozen=True, slots=True)
class Editing:
    """A text field of the page got or lost the keyboard; the rectangle (CSS pixels) is the caret's, or the field's where that is not known."""

    mode: EditingMode
    x: int
    y: int
    width: int
    height: int


class PermissionKind(StrEnum):
    """What a page asked for and was denied."""

    CAMERA = "camera"
    MICROPHONE = "microphone"
    SCREEN = "screen"
    LOCATION = "location"
    NOTIFICATIONS = "notifications"
    CLIPBOARD = "clipboard"
    MIDI = "midi"
    DEVICES = "devices"  # USB, serial, HID, Bluetooth


@dataclass(frozen=True, slots=True)
class Permission:
    """The page asked for something that isolated pages never get."""

    kind: PermissionKind


@dataclass(frozen=True, slots=True)
class Queued:
    """Said by the router: no browser is free; this session is at ``position`` (from 1). ``waited``: seconds the last ones waited, 0 when not known."""

    position: int
    waited: int


class EndingReason(StrEnum):
    """Why a session will end."""

    IDLE = "idle"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Ending:
    """Said by the router: the session ends in ``seconds``; 0 takes that back (somebody did something)."""

    reason: EndingReason
    seconds: int


ToRenderer = (
    Hello
    | Resize
    | Pointer
    | Wheel
    | Key
    | Text
    | Composition
    | Navigate
    | History
    | Reload
    | Stop
    | DialogReply
    | SelectReply
    | Ack
    | Focus
    | Paste
    | CopyRequest
    | ClosePage
    | Refresh
    | Touch
    | Find
    | MenuReply
    | Print
    | AuthReply
    | ExitFullscreen
    | FileChoice
    | FileDrop
    | FileData
    | FileCancel
    | DownloadReply
    | DownloadAck
    | PasteImage
)
FromRenderer = (
    Ready
    | Frame
    | Location
    | Title
    | Icon
    | Loading
    | Cursor
    | Dialog
    | DialogClosed
    | Select
    | SelectClosed
    | Opened
    | Clipboard
    | Notice
    | Closed
    | LinkHint
    | Found
    | Menu
    | Fullscreen
    | Auth
    | External
    | FileAsk
    | FileProgress
    | FileClosed
    | Download
    | DownloadData
    | DownloadClosed
    | ClipboardImage
    | Permission
    | Queued
    | Ending
    | Editing
)
