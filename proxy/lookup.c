/* From a name or a prototype to a signature: see lookup.h. */
#include "lookup.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "prototype.h"
#include "reader.h"

/* ------------------------------------------------------------------ errors */

/* A complaint about @text in one line. */
void far__fail_complaint(const struct far__asker *asker, int code, const char *text, const struct far__complaint *why)
{
	int length = (int)strcspn(why->text, "\n");

	if (why->offset < 0)
		far__fail(code, EINVAL, asker->function, asker->site, "%.*s", length, why->text);
	else
		far__fail(code, EINVAL, asker->function, asker->site, "%.*s: at character %d of \"%s\", before \"%.20s\"", length,
			  why->text, why->offset + 1, text, text + why->offset);
}

/* -------------------------------------------------------------- signatures */

/* Who resolves the names of types in a prototype: the library's debug information. */
struct context {
	struct far__library *library;
	struct far__symbol *symbol;
	struct far__signature *signature;
	const struct far__asker *asker;
};

static const struct far__type *find_type(void *arg, const char *name)
{
	const struct context *c = arg;
	char module[PATH_MAX];

	if (far__library_module(c->library, NULL, module, c->asker))
		return far__read_type(module, name, &c->signature->graph, NULL);
	(void)far_error();	/* that it is not known is told instead */
	return NULL;
}

static bool is_name(const char *text)
{
	if (!isalpha((unsigned char)*text) && *text != '_')
		return false;
	while (isalnum((unsigned char)*text) || *text == '_')
		text++;
	return !*text;
}

/* Only a name: the debug information must tell. */
static bool read_type(struct context *c, struct far__complaint *why)
{
	char module[PATH_MAX];

	if (!far__library_module(c->library, c->symbol, module, c->asker))
		return false;
	c->signature->type = far__read_function(module, c->symbol->name, &c->signature->graph, why);
	if (!c->signature->type)
		far__fail_complaint(c->asker, FAR_ENAME, "", why);
	return c->signature->type;
}

static bool parse_prototype(struct context *c, struct far__complaint *why)
{
	const struct far__names names = { find_type, c };
	const char *text = c->symbol->text, *name = NULL;

	c->signature->type = far__prototype(text, &names, &c->signature->graph, &name, why);
	if (c->signature->type && !name)
		far__refuse(why, "the prototype names no function");
	if (!name)
		far__fail_complaint(c->asker, FAR_ETYPE, text, why);
	return name && far__library_name(c->symbol, name, c->asker);
}

/* A name whose type is given as C's name of a type. */
static bool parse_type(struct context *c, const char *type, struct far__complaint *why)
{
	const struct far__names names = { find_type, c };

	c->signature->type = far__function_type(type, &names, &c->signature->graph, why);
	if (!c->signature->type)
		far__fail_complaint(c->asker, FAR_ETYPE, type, why);
	return c->signature->type;
}

static bool find_signature(struct context *c, const char *type)
{
	struct far__complaint why = { .offset = -1 };

	if (!is_name(c->symbol->text) ? !parse_prototype(c, &why) : type ? !parse_type(c, type, &why) : !read_type(c, &why))
		return false;
	if (far__signature_prepare(c->signature, &why))
		return (c->signature->recipe.site.function = far__arena_text(&c->signature->ffi, c->symbol->name, strlen(c->symbol->name)));
	far__fail_complaint(c->asker, FAR_ETYPE, c->symbol->text, &why);
	return false;
}

struct far__signature *far__look_up(struct far__library *library, struct far__symbol *symbol, const char *type,
				    const struct far__asker *asker)
{
	struct context c = { library, symbol, calloc(1, sizeof *c.signature), asker };

	if (!c.signature) {
		far__fail(FAR_ENOMEM, ENOMEM, asker->function, asker->site, "no memory for the type of %s", symbol->text);
		return NULL;
	}
	c.signature->graph = far__reader_arena();
	int cancel = far__put_cancel_off();	/* files are read */
	bool found = find_signature(&c, type);

	pthread_setcancelstate(cancel, NULL);
	if (found)
		return c.signature;
	far__signature_free(c.signature);
	return NULL;
}
