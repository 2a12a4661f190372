/*
 * The types that the rows of the test of signatures are made of.
 */
#ifndef SIGNATURES_TYPES_H
#define SIGNATURES_TYPES_H

#include "signatures.h"

#include <wchar.h>

/* Finite numbers only: a NaN may change its bits when it is looked at. */
typedef uint32_t __attribute__((may_alias, aligned(1))) may_alias_u32;
typedef uint64_t __attribute__((may_alias, aligned(1))) may_alias_u64;
#define CLEAR(word, bit) (((word *)&v)[sizeof(v) / sizeof(word) - 1] &= (word)~((word)1 << (bit)))

SCALAR(c, , char)
SCALAR(sc, , signed char)
SCALAR(uc, , unsigned char)
SCALAR(b, v = seed >> 3 & 1, bool)
SCALAR(s, , short)
SCALAR(us, , unsigned short)
SCALAR(i, , int)
SCALAR(u, , unsigned)
SCALAR(l, , long)
SCALAR(ul, , unsigned long)
SCALAR(ll, , long long)
SCALAR(ull, , unsigned long long)
SCALAR(w, , wchar_t)
SCALAR(x, , __int128)
SCALAR(ux, , unsigned __int128)
SCALAR(f, CLEAR(may_alias_u32, 30), float)
SCALAR(d, CLEAR(may_alias_u64, 62), double)
SCALAR(q, CLEAR(may_alias_u64, 62), __float128)
PADDED(ld, 10, v = (long double)(int64_t)seed / 3, long double)

enum fruit { APPLE, PEAR, PLUM };
enum huge_fruit { MELON = 0x123456789abcL, PUMPKIN = -1 };
enum __attribute__((packed)) tiny_fruit { CURRANT, CHERRY, SLOE = 200 };
SCALAR(e, v = (enum fruit)(seed % 3), enum fruit)
SCALAR(he, v = seed & 4 ? MELON : PUMPKIN, enum huge_fruit)
SCALAR(te, v = seed & 4 ? SLOE : CHERRY, enum tiny_fruit)

/* Types whose alignment a typedef changes. */
SCALAR(l1, , __attribute__((aligned(1))) long)
SCALAR(i16, , __attribute__((aligned(16))) int)
SCALAR(d1, CLEAR(may_alias_u64, 62), __attribute__((aligned(1))) double)

/* Pointers to what a slave process has too: constants, literals, functions. */
extern const int constants[64];
int increment(int n);
double halve(double x);
struct incomplete;
HELPER const char *literal(uint64_t seed)
{
	switch (seed >> 3 & 3) {
	case 0:
		return "";
	case 1:
		return "a literal";
	case 2:
		return "another literal, longer than a register or two";
	default:
		return NULL;
	}
}
#define CONSTANT (seed >> 3 & 7 ? (uintptr_t)&constants[seed % 64] : 0)
SCALAR(p, v = (void *)CONSTANT, void *)
SCALAR(cp, v = (const void *)CONSTANT, const void *)
SCALAR(vp, v = (const volatile void *)CONSTANT, const volatile void *)
SCALAR(ip, v = (const int *)CONSTANT, const int *)
SCALAR(pp, v = (int **)CONSTANT, int **)
SCALAR(np, v = (struct incomplete *)CONSTANT, struct incomplete *)
SCALAR(ap, v = (const int (*)[4])CONSTANT, __typeof__(const int (*)[4]))
SCALAR(str, v = literal(seed), const char *)
SCALAR(fn, v = seed & 8 ? increment : NULL, __typeof__(int (*)(int)))
SCALAR(gn, v = seed & 8 ? halve : NULL, __typeof__(double (*)(double)))
SCALAR(vn, v = seed & 8 ? (void (*)(void))halve : NULL, __typeof__(void (*)(void)))

COMPLEX(cf, f, float)
COMPLEX(cd, d, double)
COMPLEX(cld, ld, long double)
COMPLEX(cc, c, char)
COMPLEX(ci, i, int)
COMPLEX(cl, l, long)
#ifdef __clang__
COMPLEX(cq, q, __float128)
#else
COMPLEX(cq, q, float __attribute__((mode(TC))))
#endif

#define VECTOR(tag, size, ...) SCALAR(tag, , __attribute__((vector_size(size))) __VA_ARGS__)
VECTOR(v8c, 8, char)
VECTOR(v2i, 8, int)
VECTOR(v2f, 8, float)
VECTOR(v1l, 8, long)
VECTOR(v1d, 8, double)
VECTOR(v16c, 16, char)
VECTOR(v8s, 16, short)
VECTOR(v4i, 16, int)
VECTOR(v2l, 16, long)
VECTOR(v4f, 16, float)
VECTOR(v2d, 16, double)
VECTOR(v1x, 16, __int128)
SCALAR(v4f1, , __attribute__((vector_size(16), aligned(1))) float)

/* Aggregates: no bytes, then each size up to 17 of chars. */
#define PACKED __attribute__((packed))
#define ALIGNED(n) __attribute__((aligned(n)))

typedef struct s_empty { } t_empty;
HELPER uint64_t mix_empty(uint64_t hash, t_empty v) { (void)v; return hash; }
HELPER t_empty make_empty(uint64_t seed) { (void)seed; return (t_empty){ }; }
STRUCT(none, , A(i, a, 0))
STRUCT(c1, , A(c, a, 1))
STRUCT(c2, , A(c, a, 2))
STRUCT(c3, , A(c, a, 3))
STRUCT(c4, , A(c, a, 4))
STRUCT(c5, , A(c, a, 5))
STRUCT(c6, , A(c, a, 6))
STRUCT(c7, , A(c, a, 7))
STRUCT(c8, , A(c, a, 8))
STRUCT(c9, , A(c, a, 9))
STRUCT(c10, , A(c, a, 10))
STRUCT(c11, , A(c, a, 11))
STRUCT(c12, , A(c, a, 12))
STRUCT(c13, , A(c, a, 13))
STRUCT(c14, , A(c, a, 14))
STRUCT(c15, , A(c, a, 15))
STRUCT(c16, , A(c, a, 16))
STRUCT(c17, , A(c, a, 17))

/* Small ones, by what is in each eight bytes. */
STRUCT(sb, , M(b, a))
STRUCT(ss, , M(s, a))
STRUCT(si, , M(i, a))
STRUCT(sl, , M(l, a))
STRUCT(sx, , M(x, a))
STRUCT(sf, , M(f, a))
STRUCT(sd, , M(d, a))
STRUCT(sq, , M(q, a))
STRUCT(sp, , M(p, a))
STRUCT(se, , M(e, a))
STRUCT(sss, , A(s, a, 3))
STRUCT(ii, , M(i, a), M(i, b))
STRUCT(iii, , A(i, a, 3))
STRUCT(iiii, , A(i, a, 4))
STRUCT(ff, , M(f, a), M(f, b))
STRUCT(fff, , A(f, a, 3))
STRUCT(ffff, , M(f, a), A(f, b, 3))
STRUCT(if_, , M(i, a), M(f, b))
STRUCT(fi, , M(f, a), M(i, b))
STRUCT(ffi, , M(f, a), M(f, b), M(i, c))
STRUCT(iff, , M(i, a), M(f, b), M(f, c))
STRUCT(fif, , M(f, a), M(i, b), M(f, c))
STRUCT(dd, , M(d, a), M(d, b))
STRUCT(da, , A(d, a, 2))
STRUCT(df, , M(d, a), M(f, b))
STRUCT(fd, , M(f, a), M(d, b))
STRUCT(di, , M(d, a), M(i, b))
STRUCT(id, , M(i, a), M(d, b))
STRUCT(dc, , M(d, a), M(c, b))
STRUCT(cd_, , M(c, a), M(d, b))
STRUCT(dl, , M(d, a), M(l, b))
STRUCT(ld_, , M(l, a), M(d, b))
STRUCT(ll_, , M(l, a), M(l, b))
STRUCT(pl, , M(p, a), M(l, b))
STRUCT(pf, , M(str, a), M(f, b))
STRUCT(lf, , M(l, a), M(f, b))
STRUCT(cs, , M(c, a), M(s, b))
STRUCT(csil, , M(c, a), M(s, b), M(i, c), M(l, d))
STRUCT(cfs, , M(c, a), M(f, b), M(s, c))
STRUCT(bbb, , M(b, a), M(b, b), M(b, c))
STRUCT(fnp, , M(fn, a), M(p, b))

/* Nested. */
STRUCT(n_ff, , M(ff, a), M(ff, b))
STRUCT(n_fi, , M(ff, a), M(ii, b))
STRUCT(n_c3, , M(c3, a), A(c1, b, 2), M(f, c))
STRUCT(n_deep, , M(n_c3, a), M(s, b))
STRUCT(n_sd, , A(sd, a, 2))
STRUCT(n_empty, , M(empty, a), M(d, b), M(empty, c))
STRUCT(n_24, , M(dd, a), M(i, b))
STRUCT(n_fff, , M(f, a), M(ff, b))

/* Bit-fields. */
STRUCT(w1, , W(u, a, 1))
STRUCT(w3, , W(u, a, 3), W(u, b, 7), W(u, c, 22))
STRUCT(ws, , W(i, a, 5), W(s, b, 9), M(c, c), W(l, d, 33))
STRUCT(wl, , W(ul, a, 63), W(ul, b, 1))
STRUCT(wll, , W(ul, a, 40), W(ul, b, 40))
STRUCT(wf, , W(u, a, 12), M(f, b))
STRUCT(wfd, , M(f, a), W(u, b, 12), M(d, c))
STRUCT(wb, , W(b, a, 1), W(b, b, 1), W(e, c, 2))
STRUCT(wp, PACKED, W(u, a, 5), W(ul, b, 50), M(c, c))

/* With long double, complex, vectors and __int128. */
STRUCT(sld, , M(ld, a))
STRUCT(sldld, , M(ld, a), M(ld, b))
STRUCT(sldi, , M(ld, a), M(i, b))
STRUCT(sild, , M(i, a), M(ld, b))
STRUCT(nld, , M(sld, a))
STRUCT(scf, , M(cf, a))
STRUCT(scfcf, , M(cf, a), M(cf, b))
STRUCT(sfcf, , M(f, a), M(cf, b))
STRUCT(scff, , M(cf, a), M(f, b))
STRUCT(scd, , M(cd, a))
STRUCT(scld, , M(cld, a))
STRUCT(sci, , M(ci, a))
STRUCT(scl, , M(cl, a))
STRUCT(sv2f, , M(v2f, a))
STRUCT(sv2f2, , A(v2f, a, 2))
STRUCT(sv2fl, , M(v2f, a), M(l, b))
STRUCT(sv1d, , M(v1d, a))
STRUCT(sv4f, , M(v4f, a))
STRUCT(nv4f, , M(sv4f, a))
STRUCT(sv4f2, , M(v4f, a), M(v4f, b))
STRUCT(sv4ff, , M(v4f, a), M(f, b))
STRUCT(sv4f1, , M(v4f1, a))
STRUCT(sux2, , M(ux, a), M(c, b))

/* Packed. */
STRUCT(p_ci, PACKED, M(c, a), M(i, b))
STRUCT(p_ic, PACKED, M(i, a), M(c, b))
STRUCT(p_cd, PACKED, M(c, a), M(d, b))
STRUCT(p_dc, PACKED, M(d, a), M(c, b))
STRUCT(p_df, PACKED, M(d, a), M(f, b))
STRUCT(p_fd, PACKED, M(f, a), M(d, b))
STRUCT(p_sl, PACKED, M(s, a), M(l, b))
STRUCT(p_cfc, PACKED, M(c, a), M(f, b), M(c, c))
STRUCT(p_ff, PACKED, M(f, a), M(f, b))
STRUCT(p_ll, PACKED, M(l, a), M(l, b))
STRUCT(p_clf, PACKED, M(c, a), M(l, b), M(f, c))
STRUCT(p_ld, PACKED, M(ld, a))
STRUCT(p_cld, PACKED, M(c, a), M(ld, b))
STRUCT(p_v4f, PACKED, M(v4f, a))
STRUCT(p_cv4f, PACKED, M(c, a), M(v4f, b))
STRUCT(p_x, PACKED, M(x, a))
STRUCT(p_ld4, PACKED ALIGNED(4), M(ld, a))
STRUCT(p_cl4, PACKED ALIGNED(4), M(c, a), M(l, b))
STRUCT(n_p, , M(p_ci, a), M(f, b))

/* Aligned. */
STRUCT(a_c8, ALIGNED(8), M(c, a))
STRUCT(a_c16, ALIGNED(16), M(c, a))
STRUCT(a_f16, ALIGNED(16), M(f, a))
STRUCT(a_l16, ALIGNED(16), M(l, a))
STRUCT(a_d16, ALIGNED(16), M(d, a))
STRUCT(a_dd16, ALIGNED(16), M(d, a), M(d, b))
STRUCT(a_ll16, ALIGNED(16), M(l, a), M(l, b))
STRUCT(a_24, ALIGNED(16), A(c, a, 24))
STRUCT(a_p, ALIGNED(16) PACKED, M(c, a), M(l, b))
STRUCT(a_i16, , M(i16, a))

/* Unions. */
UNION(u_if, , M(i, a), M(f, b))
UNION(u_ff, , A(f, a, 2), M(d, b))
UNION(u_dl, , M(d, a), M(l, b))
UNION(u_dd, , A(d, a, 2), M(l, b))
UNION(u_dv, , M(v4f, a), M(d, b))
UNION(u_lv, , M(v2d, a), M(l, b))
UNION(u_ld, , M(ld, a), M(d, b))
UNION(u_ldl, , M(ld, a), M(l, b))
UNION(u_ldc, , A(c, a, 16), M(ld, b))
UNION(u_ldld, , M(ld, a), M(sld, b))
UNION(u_c12, , A(c, a, 12), M(f, b))
UNION(u_c17, , A(c, a, 17), M(l, b))
UNION(u_c5, PACKED, A(c, a, 5), M(i, b))
UNION(u_p, PACKED, M(p_cd, a), M(c, b))
UNION(u_pld, PACKED, M(ld, a), M(c, b))
UNION(u_cd, , M(cd, a), M(d, b))
STRUCT(su, , M(u_if, a), M(f, b))
STRUCT(sud, , M(f, a), M(u_dl, b))

/* Large. */
STRUCT(lll, , A(l, a, 3))
STRUCT(ddd, , A(d, a, 3))
STRUCT(fffff, , A(f, a, 5))
STRUCT(c32, , A(c, a, 32))
STRUCT(c33, , A(c, a, 33))
STRUCT(mixed, , M(c, a), M(d, b), M(s, c), M(ld, d), M(f, e), M(cf, f), A(c3, g, 5))
STRUCT(l8, , A(l, a, 8))
STRUCT(c100, , A(c, a, 100))
STRUCT(c127, , A(c, a, 127))
STRUCT(d32, , A(d, a, 32))
STRUCT(ld32, , A(ld, a, 32))
STRUCT(c1000, , A(c, a, 1000))
STRUCT(l512, , A(l, a, 512))
STRUCT(c4097, , A(c, a, 4097))
STRUCT(l8192, , A(l, a, 8192))
STRUCT(c100000, , A(c, a, 100000))

#endif
