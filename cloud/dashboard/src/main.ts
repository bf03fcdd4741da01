import { mount } from "svelte";
import "./theme.css";
import "uplot/dist/uPlot.min.css";
import { app } from "./app.svelte";
import App from "./views/App.svelte";

const target = document.getElementById("app");
if (!target) throw new Error("the page has no place for the app");
mount(App, { target });
void app.begin();
