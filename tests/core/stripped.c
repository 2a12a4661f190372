/* A module without symbols or debug information, that crash_test crashes in. */
void stripped_crash(volatile int *p);

__attribute__((noinline)) static void inner(volatile int *p)
{
	*p = 1;
}

void stripped_crash(volatile int *p)
{
	inner(p);
	inner(p);
}
