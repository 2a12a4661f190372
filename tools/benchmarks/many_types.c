/*
 * Thousands of structs, which nothing uses: for debug information. Linked many
 * times into one library, and once with LAST, which has a function.
 */
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)

#define STRUCT(n) \
	struct CAT(item, n) { \
		int number, kind; \
		const char *name; \
		double value[4]; \
		unsigned long length; \
		struct CAT(item, n) *next, *previous; \
		int (*call)(struct CAT(item, n) *self, const char *text, unsigned long length); \
	};
#define TEN(n) STRUCT(n##0) STRUCT(n##1) STRUCT(n##2) STRUCT(n##3) STRUCT(n##4) \
	STRUCT(n##5) STRUCT(n##6) STRUCT(n##7) STRUCT(n##8) STRUCT(n##9)
#define HUNDRED(n) TEN(n##0) TEN(n##1) TEN(n##2) TEN(n##3) TEN(n##4) TEN(n##5) TEN(n##6) TEN(n##7) TEN(n##8) TEN(n##9)
#define THOUSAND(n) HUNDRED(n##0) HUNDRED(n##1) HUNDRED(n##2) HUNDRED(n##3) HUNDRED(n##4) \
	HUNDRED(n##5) HUNDRED(n##6) HUNDRED(n##7) HUNDRED(n##8) HUNDRED(n##9)

THOUSAND(1)
THOUSAND(2)
THOUSAND(3)
THOUSAND(4)

#ifdef LAST
int last_number(const struct item4999 *item, int by);

int last_number(const struct item4999 *item, int by)
{
	return item->number + by;
}
#endif
