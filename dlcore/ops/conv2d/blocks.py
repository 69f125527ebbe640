"""The tiles of a convolution, by what fits: where rows are left over, the last tile is as small as possible."""
from dlcore.compiler.language import constant, helper
from dlcore.ops.conv2d.tiles import piece_tile, sliding_tile

TILE, PANEL, LANES = constant("TILE"), constant("PANEL"), constant("LANES")
VECTORS = PANEL // LANES
MIDDLE, LOW = TILE - TILE // 3, TILE // 3
SHORT = TILE * 7 // 12          # rows of the tile for images whose sides are halves of 28 or 224
NARROW = (VECTORS + 1) // 2
LEVEL = ("v4_bf16",)            # where there are kernels of bf16
SHARES = 32                     # of the output rows, each with room for a strip
GEOMETRY = ("height: i64, width: i64, columns: i64, groups: i64, reach: i64, row_width: i64, sh: i64, sw: i64, uh: i64,"
            " uw: i64, dh: i64, dw: i64, top: i64, left: i64")
PLACES = "height, width, W, G, U, V"

full_tile = piece_tile("piece_tile", TILE, VECTORS, LANES)
full_middle = piece_tile("piece_middle", MIDDLE, VECTORS, LANES)
full_low = piece_tile("piece_low", LOW, VECTORS, LANES)
full_short = piece_tile("piece_short", SHORT, VECTORS, LANES)
half_tile = piece_tile("piece_half", TILE, NARROW, LANES)
half_middle = piece_tile("piece_half_middle", MIDDLE, NARROW, LANES)
half_low = piece_tile("piece_half_low", LOW, NARROW, LANES)
half_short = piece_tile("piece_half_short", SHORT, NARROW, LANES)
edge_tile = piece_tile("piece_edge", TILE, VECTORS, LANES, edge=True)
edge_middle = piece_tile("piece_edge_middle", MIDDLE, VECTORS, LANES, edge=True)
edge_low = piece_tile("piece_edge_low", LOW, VECTORS, LANES, edge=True)
narrow_tile = piece_tile("piece_narrow", TILE, NARROW, LANES, edge=True)
narrow_middle = piece_tile("piece_narrow_middle", MIDDLE, NARROW, LANES, edge=True)
narrow_low = piece_tile("piece_narrow_low", LOW, NARROW, LANES, edge=True)
slide = sliding_tile("slide", TILE, NARROW, LANES)
slide_middle = sliding_tile("slide_middle", MIDDLE, NARROW, LANES)


@helper
def one_tile(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer, a_jump, b_jump):
    """The tile that fits: whole, or an edge as small as possible."""
    whole = rows == TILE or rows == MIDDLE or rows == LOW or rows == SHORT
    if n == PANEL and whole:
        if rows == TILE:
            full_tile(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                      a_jump, b_jump)
        elif rows == MIDDLE:
            full_middle(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                        a_jump, b_jump)
        elif rows == SHORT:
            full_short(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                       a_jump, b_jump)
        else:
            full_low(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                     a_jump, b_jump)
    elif n == NARROW * LANES and whole:
        if rows == TILE:
            half_tile(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                      a_jump, b_jump)
        elif rows == MIDDLE:
            half_middle(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                        a_jump, b_jump)
        elif rows == SHORT:
            half_short(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                       a_jump, b_jump)
        else:
            half_low(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                     a_jump, b_jump)
    elif n > NARROW * LANES:
        if rows > MIDDLE:
            edge_tile(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                      a_jump, b_jump)
        elif rows > LOW:
            edge_middle(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                        a_jump, b_jump)
        else:
            edge_low(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                     a_jump, b_jump)
    elif rows > MIDDLE:
        narrow_tile(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                    a_jump, b_jump)
    elif rows > LOW:
        narrow_middle(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                      a_jump, b_jump)
    else:
        narrow_low(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer,
                   a_jump, b_jump)


@helper
def sliding(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer, a_jump, b_jump):
    """TILE or MIDDLE rows of taps side by side."""
    if rows == TILE:
        slide(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer, a_jump, b_jump)
    else:
        slide_middle(depth, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, bias, bias_at, mode, outer, a_jump,
                     b_jump)


@helper
def tile_rows(left):
    """How many of the rows that are left the next tile takes: so that few of its rows are empty."""
    if TILE == 12:
        if left == 13 or left == 14 or left == 11:
            return SHORT
        if left == 15 or left == 16:
            return MIDDLE
    return min(TILE, left)


@helper
def seen(place, u, size):
    """Does this place of an image spread out by u hold one of its `size` elements?  Divisions cost more than a step of K."""
    if u == 1:
        return 0 <= place < size
    if u == 2:
        return place >= 0 and place & 1 == 0 and place < 2 * size
    return place >= 0 and place % u == 0 and place < u * size
